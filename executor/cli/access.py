"""Which cluster and namespace a command is about, from its options; opens nothing but files and exec plugins."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shard_executor.cli.errors import CommandError, warn

if TYPE_CHECKING:
    from shard_executor.core.credentials import Credentials
    from shard_executor.supervisor.credentials import CredentialSource

_NO_CLUSTER = "no cluster to talk to: "
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster to talk to. Close `source` when done with it."""

    source: CredentialSource
    credentials: Credentials
    namespace: str


def check_namespace(namespace: str | None) -> None:
    """Raises CommandError for a --namespace that cannot be one."""
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        raise CommandError(f"--namespace {namespace!r}: is no namespace name (lower-case letters, digits and '-')")


def open_access(kubeconfig: str | None, context: str | None, namespace: str | None) -> Access:
    """Resolves credentials as kubectl does, and the namespace: the one given, else the context's, else `default`.

    Blocking: an exec plugin may take its time.

    Raises:
        CommandError: names what is missing and what to do next.
    """
    from shard_executor.supervisor.credentials import CredentialError, CredentialSource

    check_namespace(namespace)
    source = CredentialSource(kubeconfig, context)
    try:
        credentials = source.load()
    except CredentialError as fault:
        source.close()
        words = str(fault).removeprefix(_NO_CLUSTER)
        raise CommandError(
            f"{_NO_CLUSTER}{words}; give --kubeconfig or --context, or start a cluster on this machine "
            "with `shard-executor devcluster`"
        ) from fault
    return Access(source, credentials, namespace or credentials.namespace or "default")


def namespace_without_cluster(kubeconfig: str | None, context: str | None, namespace: str | None) -> str:
    """The namespace that `open_access` would find, from files alone: no plugin runs, no cluster has to be there.

    Raises:
        CommandError: a kubeconfig or context that was asked for by name cannot be read.
    """
    from shard_executor.supervisor.credentials import SERVICE_ACCOUNT_FOLDER
    from shard_executor.supervisor.kubeconfig import CredentialError, kubeconfig_files, read_context

    check_namespace(namespace)
    if namespace is not None:
        return namespace
    try:
        files = kubeconfig_files(kubeconfig, os.environ)
        found = read_context(files, context) if files or context is not None else None
    except CredentialError as fault:
        if kubeconfig is not None or context is not None:
            raise CommandError(f"{fault}; or give the namespace with --namespace") from fault
        warn(f"{fault}; the namespace is taken to be 'default'")
        return "default"
    if found is not None:
        return found.namespace or "default"
    try:
        mounted = Path(SERVICE_ACCOUNT_FOLDER, "namespace").read_text(encoding="utf-8").strip()
    except OSError:  # not in a pod
        return "default"
    return mounted or "default"
