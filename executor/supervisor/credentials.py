"""Resolves what the shards need to reach the API server, and keeps it fresh. Parent process only.

Order, as kubectl's: the given kubeconfig, KUBECONFIG, ~/.kube/config, the service account of the pod. The `kubernetes`
package's loaders read the sections; this module covers what they leave out: token files and certificates are read
again when older than FILE_AGE_SECONDS, exec plugins are cached and renewed before they expire, failures are errors
with a place and a way out, and the context is pinned, so that `kubectl config use-context` in another terminal does
not move a running executor to another cluster.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping

from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.exec_plugin import EXEC_TIMEOUT_SECONDS, ExecCredential, ExecPlugin
from shard_executor.supervisor.kubeconfig import (
    CredentialError,
    KubeContext,
    Signature,
    files_signature,
    kubeconfig_files,
    read_context,
)
from shard_executor.supervisor.material import Material
from shard_executor.supervisor.sections import ca_data, from_context, from_service_account, provider_header, with_trust

__all__ = ["FILE_AGE_SECONDS", "CredentialError", "CredentialSource"]

SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
FILE_AGE_SECONDS = 60.0
RENEW_BEFORE_SECONDS = 60.0
RETRY_AFTER_SECONDS = 10.0
FORCED_GAP_SECONDS = 5.0
CLOSE_TIMEOUT_SECONDS = 5.0

log = logging.getLogger(__name__)


class CredentialSource:
    """Gives the current Credentials. Constructing reads nothing and starts nothing.

    kubeconfig: path of a kubeconfig that must exist; None follows kubectl's order.
    context: name of a context; None means the current one at the time of `load`.
    in_cluster: True uses only the pod's service account, False only kubeconfigs, None either.
    environ: environment to read (default: the process's). service_account: folder of the mounted service account.
    exec_timeout: seconds an exec plugin may take. clock: unix seconds. Thread-safe.
    verify: False accepts any certificate of the server. ca_file: CA bundle in PEM instead of the one that was found.
    """

    def __init__(
        self,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        in_cluster: bool | None = None,
        environ: Mapping[str, str] | None = None,
        service_account: str = SERVICE_ACCOUNT_FOLDER,
        exec_timeout: float = EXEC_TIMEOUT_SECONDS,
        verify: bool = True,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._wanted = context
        self._in_cluster = in_cluster
        self._environ = os.environ if environ is None else environ
        self._service_account = service_account
        self._exec_timeout = exec_timeout
        self._verify = verify
        self._ca_file = ca_file
        self._clock = clock
        self._material = Material()
        # _lock guards the fields below and is held for local file reads only; _renewing is held while a plugin or an
        # identity provider is asked, which can take `exec_timeout`.
        self._lock = threading.RLock()
        self._renewing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._files: list[str] = []
        self._signature: Signature = ()
        self._context: KubeContext | None = None
        self._plugin: ExecPlugin | None = None
        self._identity: ExecCredential | str | None = None
        self._renew_at: float | None = None
        self._forced_at: float | None = None
        self._checked_at = 0.0
        self._built: Credentials | None = None
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the last attempt to freshen the credentials failed, or None. The last good ones stay in use."""
        return self._problem

    @property
    def description(self) -> str:
        """Where the credentials come from, in words for a person."""
        context = self._context
        if context is not None:
            return context.describe()
        return f"service account in {self._service_account}" if self._built is not None else "not loaded"

    def load(self) -> Credentials:
        """Find, read and check everything; runs an exec plugin if the user has one.

        Blocking: a plugin may take `exec_timeout`. Raises CredentialError naming the file, context or command.
        """
        with self._renewing:
            self._choose()
            self._renew()
            return self._assemble()

    def current(self) -> Credentials:
        """The credentials to use now; loads them on the first call (see `load`), later calls return at once.

        Files older than FILE_AGE_SECONDS are read again here. A plugin or identity provider that is due is asked on a
        thread, and the answer shows in a later call. When freshening fails, the last good credentials are returned,
        `problem` says why, and it is tried again after RETRY_AFTER_SECONDS.
        """
        if self._built is None:
            return self.load()
        with self._lock:
            now = self._clock()
            if self._renew_at is not None and now >= self._renew_at:
                self._renew_on_thread()
            if not 0 <= now - self._checked_at < FILE_AGE_SECONDS:
                try:
                    self._reread()
                except CredentialError as error:
                    self._complain(error)
                    self._checked_at = now - FILE_AGE_SECONDS + RETRY_AFTER_SECONDS
            return self._built

    def refresh(self) -> Credentials:
        """Read all files again and ask the plugin again, whatever their age: the server has answered 401.

        Blocking, as `load`. Calls within FORCED_GAP_SECONDS of each other share one answer, so that the 401s of
        several shards run the plugin once. Raises CredentialError.
        """
        with self._renewing:
            now = self._clock()
            if (
                self._built is not None
                and self._forced_at is not None
                and 0 <= now - self._forced_at < FORCED_GAP_SECONDS
            ):
                return self._built
            self._choose()
            self._renew()
            built = self._assemble()
            self._forced_at = self._clock()
            return built

    def close(self) -> None:
        """End a running plugin and remove the private files. Shards must have ended before. Safe to call again."""
        with self._lock:
            self._closed = True
            plugin, thread = self._plugin, self._thread
        if plugin is not None:
            plugin.stop()
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_TIMEOUT_SECONDS)
        self._material.close()

    def _choose(self) -> None:
        """Pick the kubeconfig's context, or None for the service account, and prepare its plugin.

        Nothing changes when it fails, so that a kubeconfig caught half-written is read again.
        """
        files, signature, context = self._find_context()
        plugin = None
        # As client-go has it: a user with a token of its own never runs its plugin.
        if context is not None and "exec" in context.user and not context.user.keys() & {"token", "tokenFile"}:
            plugin = ExecPlugin(context, ca_data=ca_data(context), environ=self._environ, timeout=self._exec_timeout)
        with self._lock:
            if self._closed:
                raise CredentialError("the credential source is closed")
            self._files, self._signature, self._context, self._plugin = files, signature, context, plugin
            if context is None:
                self._in_cluster = True
            else:
                self._wanted = context.context

    def _find_context(self) -> tuple[list[str], Signature, KubeContext | None]:
        if self._in_cluster:
            return [], (), None
        files = kubeconfig_files(self._kubeconfig, self._environ)
        signature = files_signature(files)
        context = read_context(files, self._wanted) if files else None
        if context is not None:
            return files, signature, context
        if self._wanted is None and self._in_cluster is None and self._kubeconfig is None and self._in_a_pod():
            return [], (), None
        listed = self._environ.get("KUBECONFIG")
        looked = self._kubeconfig or (f"KUBECONFIG={listed}" if listed else "~/.kube/config")
        raise CredentialError(
            f"no cluster to talk to: {looked} {'is empty' if files else 'does not exist'}"
            + ("" if self._in_cluster is False else ", and this is no pod with a service account")
            + "; name a kubeconfig with --kubeconfig or KUBECONFIG"
        )

    def _in_a_pod(self) -> bool:
        return bool(self._environ.get("KUBERNETES_SERVICE_HOST")) and os.path.isfile(
            os.path.join(self._service_account, "token")
        )

    def _renew(self) -> None:
        """Ask the plugin or the identity provider. The caller holds _renewing, and not _lock."""
        context, plugin = self._context, self._plugin
        identity: ExecCredential | str | None = None
        if plugin is not None:
            identity = plugin.run()
        elif context is not None and "auth-provider" in context.user:
            identity = provider_header(context)
        with self._lock:
            self._identity = identity
            self._renew_at = self._next_renewal(identity)

    def _next_renewal(self, identity: ExecCredential | str | None) -> float | None:
        now = self._clock()
        if isinstance(identity, str):
            # The loader itself knows when a provider's token expires; asking it is cheap while it has not.
            return now + FILE_AGE_SECONDS
        if identity is None or identity.expires_at is None:
            return None
        lifetime = identity.expires_at - now
        if lifetime <= 0:
            log.warning(
                "The credential plugin's answer has expired %.0f s ago; is this machine's clock right?", -lifetime
            )
        return now + max(lifetime - RENEW_BEFORE_SECONDS, lifetime / 2, RETRY_AFTER_SECONDS)

    def _renew_on_thread(self) -> None:
        if self._closed or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._renew_quietly, name="credential-renewal", daemon=True)
        self._thread.start()

    def _renew_quietly(self) -> None:
        with self._renewing:
            try:
                self._renew()
                self._assemble()
            except CredentialError as error:
                with self._lock:
                    if not self._closed:
                        self._complain(error)
                        self._renew_at = self._clock() + RETRY_AFTER_SECONDS

    def _reread(self) -> None:
        if self._context is not None and files_signature(self._files) != self._signature:
            self._choose()
            if self._plugin is not None or "auth-provider" in self._context.user:
                # Its command may have changed; the old answer serves until the thread has a new one.
                self._renew_on_thread()
        self._assemble()

    def _assemble(self) -> Credentials:
        """Build Credentials from the context, the files and the identity at hand."""
        with self._lock:
            if self._closed:
                raise CredentialError("the credential source is closed")
            if self._context is None:
                built = from_service_account(self._service_account, self._environ, self._material)
            else:
                built = from_context(self._context, self._identity, self._environ, self._material)
            built = with_trust(built, self._verify, self._ca_file, self._material)
            self._built = built
            self._checked_at = self._clock()
            self._problem = None
            return built

    def _complain(self, error: CredentialError) -> None:
        words = str(error)
        if words != self._problem:
            log.warning("Credentials could not be freshened, the last good ones stay in use: %s", words)
        self._problem = words
