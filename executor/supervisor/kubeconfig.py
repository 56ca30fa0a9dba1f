"""Finds, merges and checks kubeconfig files, and picks one context out of them.

The rules are kubectl's ("Organizing Cluster Access Using kubeconfig Files", Kubernetes documentation): an explicit file
stands alone; else the files of KUBECONFIG, missing ones skipped; else ~/.kube/config. The first file to set a named
entry or the current context wins, and relative paths are relative to the file that holds them. The `kubernetes`
package's own merge lets the last file set the current context, so it is not used for merging.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Signature = tuple[tuple[str, int, int, int], ...]

_CLUSTER_FILES = ("certificate-authority",)
_USER_FILES = ("client-certificate", "client-key", "tokenFile")


class CredentialError(Exception):
    """No usable credentials; the text names the file, context or command at fault and what to do next."""


@dataclass(frozen=True, slots=True)
class KubeContext:
    """One context, its cluster and its user, with every path made absolute.

    files: the kubeconfig files that were read, in order of precedence.
    context: the context's name; cluster_name and user_name likewise ("" for a context without a user).
    cluster, user: the sections as the files hold them.
    user_folder: folder of the file that holds the user; an exec plugin's relative command starts there.
    namespace: the context's default namespace.
    """

    files: tuple[str, ...]
    context: str
    cluster_name: str
    cluster: dict[str, Any]
    user_name: str
    user: dict[str, Any]
    user_folder: str
    namespace: str | None

    def describe(self) -> str:
        """Words that lead a reader to this context."""
        return f"context {self.context!r} of {', '.join(self.files)}"


def kubeconfig_files(explicit: str | None, environ: Mapping[str, str]) -> list[str]:
    """The existing kubeconfig files that apply, in order of precedence; empty where there is none.

    explicit: the path given by the user, which must exist. environ: for KUBECONFIG and HOME.
    Raises CredentialError for an explicit file that does not exist.
    """
    if explicit is not None:
        path = os.path.expanduser(explicit)
        if not os.path.isfile(path):
            raise CredentialError(f"kubeconfig {path}: no such file; check --kubeconfig (or the option that names it)")
        return [os.path.abspath(path)]
    listed = environ.get("KUBECONFIG", "")
    if listed:
        named = [os.path.abspath(os.path.expanduser(entry)) for entry in listed.split(os.pathsep) if entry]
        return [path for path in dict.fromkeys(named) if os.path.isfile(path)]
    home = environ.get("HOME") or str(Path.home())
    default = os.path.join(home, ".kube", "config")
    return [default] if os.path.isfile(default) else []


def read_context(files: list[str], context: str | None) -> KubeContext | None:
    """Read and merge `files` and return the wanted context, or None where they name no cluster and no context at all.

    context: its name; None means the files' current-context.
    Raises CredentialError naming the file, or the context and the ones that exist.
    """
    merged: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {"clusters": {}, "contexts": {}, "users": {}}
    current = ""
    for path in files:
        data = _read_yaml(path)
        current = current or str(data.get("current-context") or "")
        for kind, entries in merged.items():
            for name, entry in _entries(path, data, kind):
                entries.setdefault(name, (path, entry))
    if context is None and not current and not merged["contexts"] and not merged["clusters"]:
        return None
    where = ", ".join(files)
    known = ", ".join(sorted(merged["contexts"])) or "none"
    name = context or current
    if not name:
        raise CredentialError(
            f"{where}: no current-context is set; name one with --context, or run `kubectl config use-context NAME` "
            f"(contexts there: {known})"
        )
    if name not in merged["contexts"]:
        raise CredentialError(f"{where}: there is no context {name!r}; contexts there: {known}")
    path, entry = merged["contexts"][name]
    cluster_name, user_name = str(entry.get("cluster") or ""), str(entry.get("user") or "")
    if cluster_name not in merged["clusters"]:
        raise CredentialError(f"{path}: context {name!r} names the cluster {cluster_name!r}, which no file defines")
    if user_name and user_name not in merged["users"]:
        raise CredentialError(f"{path}: context {name!r} names the user {user_name!r}, which no file defines")
    cluster_path, cluster = merged["clusters"][cluster_name]
    user_path, user = merged["users"].get(user_name, (path, {}))
    return KubeContext(
        files=tuple(files),
        context=name,
        cluster_name=cluster_name,
        cluster=_absolute(cluster_path, cluster, _CLUSTER_FILES),
        user_name=user_name,
        user=_absolute(user_path, user, _USER_FILES),
        user_folder=os.path.dirname(user_path),
        namespace=str(entry["namespace"]) if entry.get("namespace") else None,
    )


def files_signature(files: list[str]) -> Signature:
    """Something that changes when one of the files is written or replaced."""
    found = []
    for path in files:
        try:
            stat = os.stat(path)
        except OSError:
            continue
        found.append((path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"kubeconfig {path}: cannot be read: {error}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        # The mark's own text would quote the line, which may hold a token.
        raise CredentialError(f"kubeconfig {path}{line}: {problem}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CredentialError(f"kubeconfig {path}: a kubeconfig is a mapping, this file holds a {type(data).__name__}")
    return data


def _entries(path: str, data: dict[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    """The named entries of one list: clusters hold their facts under "cluster", and so on."""
    listed = data.get(kind) or []
    if not isinstance(listed, list):
        raise CredentialError(f"kubeconfig {path}: {kind!r} must be a list")
    singular = kind[:-1]
    found = []
    for number, item in enumerate(listed):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise CredentialError(f"kubeconfig {path}: {kind}[{number}] needs a 'name'")
        body = item.get(singular) or {}
        if not isinstance(body, dict):
            raise CredentialError(f"kubeconfig {path}: {kind}[{number}].{singular} must be a mapping")
        found.append((item["name"], body))
    return found


def _absolute(path: str, section: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    resolved = dict(section)
    for key in keys:
        value = resolved.get(key)
        if isinstance(value, str) and value:
            resolved[key] = os.path.normpath(os.path.join(os.path.dirname(path), value))
    return resolved
