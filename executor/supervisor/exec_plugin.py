"""Runs a kubeconfig's credential plugin (client.authentication.k8s.io) and reads its answer.

Written here rather than left to the `kubernetes` package, whose provider logs a plugin's failure and goes on without
credentials, waits for it without a limit and keeps no result. Source of the rules: "client-go credential plugins" in
the Kubernetes documentation, and the ExecCredential types of client.authentication.k8s.io/v1.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shard_executor.supervisor.kubeconfig import CredentialError, KubeContext

EXEC_TIMEOUT_SECONDS = 60.0
_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_STDERR_KEPT = 800


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """A plugin's answer: a token, a client certificate with its key, or both; expires_at in unix seconds."""

    token: str | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    expires_at: float | None = None


class ExecPlugin:
    """One user's plugin. Constructing checks the section and runs nothing.

    context: whose `user.exec` describes the plugin; a bare command is looked up in PATH, a relative one starts at the
    kubeconfig's folder. ca_data: the cluster's CA bundle in PEM, for plugins with provideClusterInfo.
    timeout: seconds a run may take.
    Raises CredentialError for a section that cannot be run.
    """

    def __init__(
        self,
        context: KubeContext,
        *,
        ca_data: str | None = None,
        environ: Mapping[str, str] | None = None,
        timeout: float = EXEC_TIMEOUT_SECONDS,
    ) -> None:
        section = context.user["exec"]
        self._where = f"user {context.user_name!r} of {context.describe()}"
        if not isinstance(section, dict) or not isinstance(section.get("command"), str) or not section["command"]:
            raise CredentialError(f"{self._where}: exec needs a 'command'")
        self._version = str(section.get("apiVersion") or "")
        if self._version not in _VERSIONS:
            raise CredentialError(
                f"{self._where}: exec.apiVersion {self._version!r} is not supported; "
                f"use one of {', '.join(_VERSIONS)} (a newer plugin may be needed)"
            )
        if section.get("interactiveMode") == "Always":
            raise CredentialError(
                f"{self._where}: the plugin {section['command']!r} insists on a terminal (interactiveMode: Always); "
                "use a plugin mode that works without one"
            )
        self._command = section["command"]
        if os.sep in self._command:
            self._command = os.path.normpath(os.path.join(context.user_folder, self._command))
        self._arguments = [str(argument) for argument in section.get("args") or []]
        self._environment = dict(os.environ if environ is None else environ)
        for entry in section.get("env") or []:
            if not isinstance(entry, dict) or "name" not in entry:
                raise CredentialError(f"{self._where}: each entry of exec.env needs 'name' and 'value'")
            self._environment[str(entry["name"])] = str(entry.get("value") or "")
        self._environment["KUBERNETES_EXEC_INFO"] = json.dumps(self._exec_info(section, context, ca_data))
        self._hint = str(section.get("installHint") or "").strip()
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None

    @property
    def words(self) -> str:
        """The plugin and whose it is, for messages."""
        return f"credential plugin {self._command!r} ({self._where})"

    def run(self) -> ExecCredential:
        """Run the plugin once, without a terminal, and return what it printed.

        Blocking, at most `timeout` seconds. Raises CredentialError with the command and the end of its stderr.
        """
        found = shutil.which(self._command, path=self._environment.get("PATH"))
        if found is None:
            hint = f": {self._hint}" if self._hint else "; install it or mend exec.command in the kubeconfig"
            raise CredentialError(f"{self.words} was not found{hint}")
        try:
            # A session of its own, so that what the plugin started ends with it.
            process = subprocess.Popen(
                [found, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise CredentialError(f"{self.words} could not be started: {error}") from error
        self._process = process
        with process:
            try:
                out, err = process.communicate(timeout=self._timeout)
            except subprocess.TimeoutExpired:
                self.stop()
                _, err = process.communicate()
                raise CredentialError(
                    f"{self.words} gave no answer within {self._timeout:g} s{_tail(err)}; run it by hand to see why"
                ) from None
            finally:
                self._process = None
        if process.returncode != 0:
            raise CredentialError(f"{self.words} ended with {_ending(process.returncode)}{_tail(err)}")
        return self._parse(out)

    def stop(self) -> None:
        """Kill a run that another thread is waiting for; does nothing when there is none."""
        process = self._process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def _exec_info(self, section: dict[str, Any], context: KubeContext, ca_data: str | None) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": False}
        if section.get("provideClusterInfo"):
            names = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
            cluster = {name: context.cluster[name] for name in names if name in context.cluster}
            if ca_data:
                cluster["certificate-authority-data"] = ca_data
            for extension in context.cluster.get("extensions") or []:
                if isinstance(extension, dict) and extension.get("name") == "client.authentication.k8s.io/exec":
                    cluster["config"] = extension.get("extension")
            spec["cluster"] = cluster
        return {"apiVersion": self._version, "kind": "ExecCredential", "spec": spec}

    def _parse(self, out: str) -> ExecCredential:
        try:
            answer = json.loads(out)
        except ValueError as error:
            # The output itself may hold a token, so only the decoder's words are shown.
            raise CredentialError(f"{self.words} printed something that is not JSON: {error}") from None
        if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
            raise CredentialError(f"{self.words} did not print an ExecCredential")
        if answer.get("apiVersion") != self._version:
            raise CredentialError(
                f"{self.words} answered in {answer.get('apiVersion')!r}, the kubeconfig asks for {self._version!r}"
            )
        status = answer.get("status")
        if not isinstance(status, dict):
            raise CredentialError(f"{self.words} printed an ExecCredential without a status")
        token, certificate, key = (
            self._text(status, name) for name in ("token", "clientCertificateData", "clientKeyData")
        )
        if not token and not certificate:
            raise CredentialError(f"{self.words} gave neither a token nor a client certificate")
        if bool(certificate) != bool(key):
            raise CredentialError(f"{self.words} gave only one of clientCertificateData and clientKeyData")
        return ExecCredential(
            token=token.strip() if token else None,
            certificate=certificate.encode() if certificate else None,
            key=key.encode() if key else None,
            expires_at=self._expiry(status.get("expirationTimestamp")),
        )

    def _text(self, status: dict[str, Any], name: str) -> str | None:
        value = status.get(name)
        if value is None or isinstance(value, str):
            return value
        raise CredentialError(f"{self.words}: status.{name} must be a string")

    def _expiry(self, value: object) -> float | None:
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise CredentialError(f"{self.words}: expirationTimestamp {value!r} is not an RFC 3339 time") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {-code}"


def _tail(err: str) -> str:
    text = err.strip()
    return f"; its last words: {text[-_STDERR_KEPT:]}" if text else ""
