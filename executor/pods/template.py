"""Pod templates: reads a YAML file once, refuses what cannot work, and says which container is the task's.

A template is a whole Pod as Kubernetes documents it. The task's fields go into its container named `base` (as
Airflow calls it) or else the first one; everything else is kept as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from shard_executor.pods.strict_yaml import YamlFault, load_documents
from shard_executor.pods.task import TaskError, TaskSpec, describe, is_reserved, suggestion

MAIN_CONTAINER = "base"
_TOP = ("apiVersion", "kind", "metadata", "spec")
MAX_BYTES = 4 << 20  # a Pod beyond etcd's 1.5 MiB request limit is no Pod; this leaves room for comments


_Refuse = Callable[[str], "TemplateError"]


class TemplateError(ValueError):
    """A template file cannot be used; the message names the file, the key and what is allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class PodTemplate:
    """A checked template. `pod` is a plain dict that nobody changes; `main` is the index of the task's container."""

    name: str
    pod: dict[str, Any]
    main: int
    image: str | None
    namespace: str | None


EMPTY = PodTemplate("(no template)", {"spec": {"containers": [{"name": MAIN_CONTAINER}]}}, 0, None, None)


def require_image(task: TaskSpec, template: PodTemplate) -> None:
    """Raises TaskError if neither the task nor the container of its template names an image."""
    if task.image is None and template.image is None:
        where = "and there is no template" if template is EMPTY else f"nor does template {template.name}"
        raise TaskError(
            task.id, "image", f"it has no image, {where}: set 'image' in the task, or in the template's container"
        )


def parse_template(text: str | bytes, name: str) -> PodTemplate:
    """Checks one template.

    Args:
        text: YAML (or JSON, which is YAML).
        name: what messages call it, usually the file's path.

    Raises:
        TemplateError: not YAML, more than one document, not a Pod, or something shard-executor has to decide itself.
    """
    try:
        documents = load_documents(text)
    except YamlFault as fault:
        raise TemplateError(f"template {name}: not valid YAML: {fault}") from fault
    if len(documents) != 1:
        raise TemplateError(f"template {name}: must hold one Pod, not {len(documents)} YAML documents")
    template = _check(documents[0], name)
    try:
        orjson.dumps(template.pod)
    except (TypeError, ValueError) as fault:  # a key that is a number, an integer beyond 64 bits
        raise TemplateError(f"template {name}: cannot be written as JSON: {fault}") from fault
    return template


def load_template(path: Path, name: str | None = None) -> PodTemplate:
    """Reads and checks a template file; raises TemplateError naming the file."""
    shown = name or str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TemplateError(f"template {shown}: larger than {MAX_BYTES >> 20} MiB; is this a Pod?")
        text = path.read_bytes()
    except FileNotFoundError:
        raise TemplateError(f"template {shown}: no such file") from None
    except OSError as fault:
        raise TemplateError(f"template {shown}: cannot be read: {fault.strerror or fault}") from fault
    return parse_template(text, shown)


def _check(pod: object, name: str) -> PodTemplate:
    def refuse(problem: str) -> TemplateError:
        return TemplateError(f"template {name}: {problem}")

    if not isinstance(pod, dict):
        raise refuse(f"must be a Pod (a mapping with kind: Pod), not {describe(pod)}")
    if pod.get("kind") != "Pod":
        raise refuse(f"kind must be Pod, not {describe(pod.get('kind'))}")
    if pod.get("apiVersion", "v1") != "v1":
        raise refuse(f"apiVersion must be v1, not {describe(pod['apiVersion'])}")
    for key in pod:
        if key not in _TOP:
            raise refuse(f"unknown key {key!r}{suggestion(str(key), _TOP) or ';'} allowed: {', '.join(_TOP)}")
    metadata = _mapping_at(pod, "metadata", "metadata", refuse)
    for key in ("labels", "annotations"):
        for label, value in _mapping_at(metadata, key, f"metadata.{key}", refuse).items():
            if is_reserved(str(label)):
                raise refuse(f"metadata.{key} may not set {label!r}: shard-executor writes that one itself")
            if not isinstance(value, str):
                raise refuse(f"metadata.{key}.{label} must be text, not {describe(value)}: put it in quotes")
    namespace = metadata.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        raise refuse(f"metadata.namespace must be text, not {describe(namespace)}")
    spec = _mapping_at(pod, "spec", "spec", refuse)
    _mapping_at(spec, "nodeSelector", "spec.nodeSelector", refuse)
    if not isinstance(spec.get("tolerations") or [], list):
        raise refuse(f"spec.tolerations must be a list of tolerations, not {describe(spec['tolerations'])}")
    policy = spec.get("restartPolicy", "Never")
    if policy != "Never":
        raise refuse(f"spec.restartPolicy must be Never, not {policy!r}: every attempt at a task is a pod of its own")
    return _with_container(pod, spec, namespace, name, refuse)


def _with_container(
    pod: dict[str, Any], spec: dict[str, Any], namespace: str | None, name: str, refuse: _Refuse
) -> PodTemplate:
    containers = spec.get("containers")
    if containers is None:
        pod = {**pod, "spec": {**spec, "containers": [{"name": MAIN_CONTAINER}]}}
        return PodTemplate(name, pod, 0, None, namespace)
    if not isinstance(containers, list) or not containers:
        raise refuse("spec.containers must be a list of containers, and not an empty one")
    names: list[str] = []
    for index, container in enumerate(containers):
        if not isinstance(container, dict) or not isinstance(container.get("name"), str):
            raise refuse(f"spec.containers[{index}] must be a mapping with a name, like {{name: {MAIN_CONTAINER}}}")
        if container["name"] in names:
            raise refuse(f"spec.containers[{index}]: a second container is named {container['name']!r}")
        names.append(container["name"])
    main = names.index(MAIN_CONTAINER) if MAIN_CONTAINER in names else 0
    container = containers[main]
    where = f"spec.containers[{main}]"
    image = container.get("image")
    if image is not None and (not isinstance(image, str) or not image):
        raise refuse(f"{where}.image must be text, not {describe(image)}")
    _mapping_at(container, "resources", f"{where}.resources", refuse)
    env = container.get("env")
    if env is not None:
        if not isinstance(env, list):
            raise refuse(f"{where}.env must be a list of entries, not {describe(env)}")
        for position, entry in enumerate(env):
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise refuse(f"{where}.env[{position}] must be a mapping with a name, like {{name: A, value: b}}")
    return PodTemplate(name, pod, main, image, namespace)


def _mapping_at(parent: dict[str, Any], key: str, where: str, refuse: _Refuse) -> dict[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refuse(f"{where} must be a mapping, not {describe(value)}")
    return value
