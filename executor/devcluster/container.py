"""Turns a container of a pod's spec into a command line, an environment and directories on this host.

What differs from a real node, because processes run without root file system and mounts of their own:

- The environment begins with PATH (the folder of the running Python first), HOME, LANG, LC_* and TZ of the cluster
  process; nothing else of it is passed on. HOSTNAME is the pod's name.
- Without `command`, `args` are executed as the command, as with an image whose entrypoint executes its arguments.
  Without both, the container fails with StartError: the entrypoint of an image is not known here.
- Without `workingDir` a container starts in a directory of its pod, which goes when the pod goes.
- Volumes are directories and are not mounted. Each is found by the variable ``DEVCLUSTER_VOLUME_<NAME>``, the name
  in upper case with ``_`` for everything else than letters and digits: emptyDir a fresh directory, hostPath the path
  itself, configMap and secret a directory of files.
- The termination message may be written to the file named by ``DEVCLUSTER_TERMINATION_LOG``.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

VOLUME_PREFIX = "DEVCLUSTER_VOLUME_"
TERMINATION_LOG = "DEVCLUSTER_TERMINATION_LOG"
NO_COMMAND = (
    "no command specified: containers run as processes of this host, where the entrypoint of an image is not known; "
    "set command or args"
)
_EXPANSION = re.compile(r"\$(\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container's configuration refers to something that is not there: CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class PodPlace:
    """What downward API fields can say beyond the pod object, and where its directories are."""

    pod_ip: str
    host_ip: str
    root: Path


def base_environment() -> dict[str, str]:
    """The part of the environment that every container gets from this host."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("HOME", "LANG", "TZ", "TMPDIR") or name.startswith("LC_")
    }
    kept["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    return kept


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replaces $(NAME) by the variable; $$ is a dollar sign, an unknown name stays (third_party/forked expansion)."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _EXPANSION.sub(replacement, text)


def command_line(container: Obj, env: Mapping[str, str]) -> list[str]:
    """The command and arguments after expansion; empty if the spec has neither."""
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [expand(word, env) for word in words]


def environment(store: Store, pod: Obj, container: Obj, place: PodPlace, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a container: the base, envFrom, then env in order, each seeing those before it.

    Raises:
        ConfigError: a ConfigMap, Secret or key that is not optional does not exist.
    """
    env = {**base, "HOSTNAME": pod["metadata"]["name"]}
    for volume in pod["spec"].get("volumes") or ():
        env[volume_variable(volume["name"])] = str(volume_path(volume, place))
    namespace = pod["metadata"]["namespace"]
    declared: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for kind, name_of in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            reference = source.get(name_of)
            if reference is not None:
                found = _data(store, kind, namespace, reference)
                declared.update({prefix + key: value for key, value in (found or {}).items()})
    for entry in container.get("env") or ():
        if "valueFrom" in entry:
            value = _value_from(store, pod, container, entry["valueFrom"], place)
            if value is not None:
                declared[entry["name"]] = value
        else:
            declared[entry["name"]] = expand(entry.get("value", ""), declared)
    return {**env, **declared}


def volume_variable(name: str) -> str:
    """The environment variable that holds a volume's directory."""
    return VOLUME_PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())


def volume_path(volume: Obj, place: PodPlace) -> Path:
    """Where a volume of the pod is on this host."""
    if "hostPath" in volume:
        return Path(volume["hostPath"]["path"])
    return place.root / "volumes" / str(volume["name"])


def make_volumes(store: Store, pod: Obj, place: PodPlace) -> None:
    """Creates the directories of a pod's volumes and the files of ConfigMaps and Secrets in them.

    Raises:
        ConfigError: a ConfigMap or Secret that is not optional does not exist.
    """
    for volume in pod["spec"].get("volumes") or ():
        if "hostPath" in volume:
            continue
        path = volume_path(volume, place)
        path.mkdir(parents=True, exist_ok=True)
        for kind, source, name_of in (("configmaps", "configMap", "name"), ("secrets", "secret", "secretName")):
            if source not in volume:
                continue
            reference = {**volume[source], "name": volume[source].get(name_of, "")}
            data = _data(store, kind, pod["metadata"]["namespace"], reference) or {}
            items = volume[source].get("items")
            chosen = {item["key"]: item["path"] for item in items} if items else {key: key for key in data}
            for key, relative in chosen.items():
                # ConfigMap keys hold no slash; item paths are relative by validation, checked again here because
                # this writes to the host.
                target = (path / relative).resolve()
                if key in data and target.is_relative_to(path.resolve()):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(data[key])


def _data(store: Store, kind: str, namespace: str, reference: Obj) -> dict[str, str] | None:
    """The strings of a ConfigMap or Secret, None if it is missing and optional."""
    name = reference.get("name", "")
    found = store.find(kind, namespace, name)
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind[:-1]} "{name}" not found')
    if kind == "configmaps":
        return dict(found.get("data") or {})
    encoded = found.get("data") or {}
    data = {key: base64.b64decode(value).decode(errors="replace") for key, value in encoded.items()}
    return {**data, **(found.get("stringData") or {})}


def _value_from(store: Store, pod: Obj, container: Obj, source: Obj, place: PodPlace) -> str | None:
    namespace = pod["metadata"]["namespace"]
    for kind, name_of, words in (
        ("configmaps", "configMapKeyRef", "ConfigMap"),
        ("secrets", "secretKeyRef", "Secret"),
    ):
        reference = source.get(name_of)
        if reference is None:
            continue
        data = _data(store, kind, namespace, reference)
        if data is None:
            return None
        if reference["key"] not in data:
            if reference.get("optional"):
                return None
            raise ConfigError(f"couldn't find key {reference['key']} in {words} {namespace}/{reference['name']}")
        return data[reference["key"]]
    if "resourceFieldRef" in source:
        return _resource(container, source["resourceFieldRef"])
    return _field(pod, source.get("fieldRef", {}).get("fieldPath", ""), place)


def _field(pod: Obj, path: str, place: PodPlace) -> str:
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str(metadata.get(match[1], {}).get(match[2], ""))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": place.pod_ip,
        "status.podIPs": place.pod_ip,
        "status.hostIP": place.host_ip,
        "status.hostIPs": place.host_ip,
    }
    if path not in known:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(known[path])


def _resource(container: Obj, reference: Obj) -> str:
    part, _, name = str(reference.get("resource", "")).partition(".")
    value = (container.get("resources") or {}).get(part, {}).get(name, "0")
    return str(value)
