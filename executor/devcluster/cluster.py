"""The development cluster as a whole: store, controllers, kubelet and server, started and ended together."""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from aiohttp import web

from shard_executor.devcluster import errors
from shard_executor.devcluster.access import Access
from shard_executor.devcluster.admission import Admission
from shard_executor.devcluster.fault_actions import FaultActions
from shard_executor.devcluster.faults import Faults
from shard_executor.devcluster.kubelet import Kubelet
from shard_executor.devcluster.namespaces import NamespaceController
from shard_executor.devcluster.objects import Objects
from shard_executor.devcluster.process_kubelet import ProcessKubelet
from shard_executor.devcluster.quota import Quotas
from shard_executor.devcluster.server import Server
from shard_executor.devcluster.sim_kubelet import SimKubelet
from shard_executor.devcluster.sim_outcomes import SimSettings
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.subresources import PodCalls
from shard_executor.devcluster.versions import Obj
from shard_executor.devcluster.watching import QUEUE_LIMIT

KUBELETS = ("process", "simulated")
NAME = "shard-executor-devcluster"


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What a development cluster is like.

    Args:
        port: to listen on at 127.0.0.1; 0 takes a free one.
        kubelet: ``process`` or ``simulated``.
        nodes, capacity: number of nodes, and pods at once on each; None takes the kubelet's defaults.
        events: which Event objects are written: none, warnings or all.
        root: where the process kubelet keeps logs and volumes; None for a temporary folder.
        sim: latencies and outcomes of the simulated kubelet.
        anonymous: whether everyone is let in without a token.
        denied: pairs of verb and resource that are refused to everyone.
        tls_cert, tls_key: files of the serving certificate; both or none.
        tls_client_ca: file of authorities whose client certificates are accepted.
        watch_list: whether lists can be streamed by a watch; without, such requests get 422 as from 1.33.
        history: changes kept for each resource.
        queue_limit: unsent events after which a watch is closed.
    """

    port: int = 0
    kubelet: str = "process"
    nodes: int | None = None
    capacity: int | None = None
    events: str | None = None
    root: Path | None = None
    sim: SimSettings = field(default_factory=SimSettings)
    anonymous: bool = False
    denied: tuple[tuple[str, str], ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    watch_list: bool = True
    history: int = 50_000
    queue_limit: int = QUEUE_LIMIT


class DevCluster:
    """A Kubernetes API server with nodes, on loopback. Constructing starts nothing."""

    def __init__(self, config: ClusterConfig | None = None) -> None:
        self.config = config or ClusterConfig()
        self.token = None if self.config.anonymous else secrets.token_hex(24)
        self.store = Store(history=self.config.history)
        self.kubelet: Kubelet = _kubelet(self.config, self.store)
        self._quotas = Quotas(self.store)
        self._namespaces = NamespaceController(self.store)
        admission = Admission(self.store, self._quotas)
        self._faults = Faults(self.store)
        self._actions = FaultActions(self.store, self.kubelet, self._faults)
        objects = Objects(self.store, admission, self._faults, self.config.watch_list, self.config.queue_limit)
        self._access = access = Access(self.token, denied=self.config.denied)
        pods = PodCalls(self.store, admission, self.kubelet)
        self._server = Server(access, objects, pods, self._control, self._faults)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The server's address, once it has started."""
        scheme = "https" if self.config.tls_cert else "http"
        return f"{scheme}://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Starts controllers, kubelet and server.

        Raises:
            OSError: if the port is taken or a certificate cannot be read.
        """
        self._namespaces.start()
        self._quotas.start()
        self.kubelet.start()
        # A client that has gone away must not keep its watch's handler alive.
        self._runner = web.AppRunner(
            self._server.application(),
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=90.0,
            shutdown_timeout=2.0,
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            "127.0.0.1",
            self.config.port,
            ssl_context=_tls(self.config),
            backlog=1024,
        )
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def end(self) -> None:
        """Ends everything in the opposite order; open watches end cleanly."""
        self._faults.clear()  # a stalled watch could not end
        await self._actions.end()
        self._faults.cut_watches("end")
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self.kubelet.end()
        self._quotas.end()
        self._namespaces.end()

    def kubeconfig(self, path: Path) -> None:
        """Writes a kubeconfig with the server's address and token, readable by its owner only.

        Over plain HTTP the address has a secret path, as kubectl sends no token without TLS.
        """
        cluster: Obj = {"server": self.url if self.config.tls_cert else self.url + self._access.prefix}
        if self.config.tls_cert:
            cluster["certificate-authority"] = str(self.config.tls_cert.resolve())
        user = {} if self.token is None else {"token": self.token}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NAME, "cluster": cluster}],
            "users": [{"name": NAME, "user": user}],
            "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
            "current-context": NAME,
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def stats(self) -> Obj:
        """Counts for people and tests: versions, objects, watches, requests by verb and resource."""
        return {
            "version": self.store.version,
            "pods": len(self.store.list("pods")),
            "watches": self._faults.open_watches,
            "requests": dict(self._server.requests),
            "kubelet": self.kubelet.stats(),
            "faults": self._actions.active(),
        }

    async def _control(self, what: str, body: Obj) -> Obj:
        if what == "GET /devcluster/stats":
            return self.stats()
        if what.endswith(" /devcluster/faults"):
            return await self._control_faults(what.partition(" ")[0], body)
        raise errors.no_such_path()

    async def _control_faults(self, method: str, body: Obj) -> Obj:
        """POST carries out a fault (see `fault_kinds`), GET lists the active rules, DELETE undoes everything."""
        if method == "POST":
            try:
                return self._actions.apply(body)
            except ValueError as error:
                raise errors.bad_request(str(error)) from error
        if method == "GET":
            return {"rules": self._actions.active()}
        if method == "DELETE":
            return await self._actions.clear()
        raise errors.method_not_allowed()


def _kubelet(config: ClusterConfig, store: Store) -> Kubelet:
    if config.kubelet not in KUBELETS:
        raise ValueError(f"kubelet must be one of {', '.join(KUBELETS)}, not {config.kubelet!r}")
    simulated = config.kubelet == "simulated"
    nodes = config.nodes or (10 if simulated else 1)
    capacity = config.capacity or (1_100 if simulated else 110)
    events = config.events or ("none" if simulated else "warnings")
    if simulated:
        return SimKubelet(store, config.sim, nodes=nodes, capacity=capacity, events=events)
    return ProcessKubelet(store, nodes=nodes, capacity=capacity, root=config.root, events=events)


def _tls(config: ClusterConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.tls_cert, config.tls_key)
    if config.tls_client_ca is not None:
        context.load_verify_locations(config.tls_client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
