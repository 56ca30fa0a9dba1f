"""``python -m shard_executor.devcluster``: serves a development cluster until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

from shard_executor.devcluster.access import parse_denial
from shard_executor.devcluster.cluster import KUBELETS, ClusterConfig, DevCluster
from shard_executor.devcluster.sim_outcomes import SimSettings

_PARENT_CHECK = 0.5  # seconds between looks at the parent


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m shard_executor.devcluster", description="A Kubernetes API server for pods on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="where to write a kubeconfig")
    parser.add_argument("--kubelet", choices=KUBELETS, default="process", help="run pods, or simulate them")
    parser.add_argument("--nodes", type=int, help="number of nodes")
    parser.add_argument("--capacity", type=int, help="pods at once on each node")
    parser.add_argument("--events", choices=("none", "warnings", "all"), help="which Event objects to write")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where pods' logs and volumes go")
    parser.add_argument(
        "--mix",
        action="append",
        default=[],
        metavar="OUTCOME=SHARE",
        help="simulated pods: share of an outcome, such as fail=0.1 or evict=0.02",
    )
    for name, words in (("start", "from binding to running"), ("run", "from running to the end")):
        parser.add_argument(f"--{name}-seconds", metavar="LOW:HIGH", help=f"simulated pods: seconds {words}")
    parser.add_argument("--seed", type=int, default=1, help="simulated pods: seed of all draws")
    parser.add_argument("--anonymous", action="store_true", help="let everyone in without a token")
    parser.add_argument(
        "--deny", action="append", default=[], metavar="VERB:RESOURCE", help="refuse this, such as create:pods"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serving certificate; serves HTTPS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key")
    parser.add_argument("--tls-client-ca", type=Path, metavar="FILE", help="accept client certificates signed by these")
    parser.add_argument("--no-watch-list", action="store_true", help="refuse streaming lists with 422, as 1.33 does")
    parser.add_argument("--history", type=int, default=50_000, help="changes kept for each resource")
    parser.add_argument("--parent-pid", type=int, metavar="PID", help="stop when this process is no longer the parent")
    return parser.parse_args(arguments)


def config_of(arguments: argparse.Namespace) -> ClusterConfig:
    """The configuration the command line asks for.

    Raises:
        ValueError: for settings that make no sense.
    """
    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise ValueError("--tls-cert and --tls-key go together")
    return ClusterConfig(
        port=arguments.port,
        kubelet=arguments.kubelet,
        nodes=arguments.nodes,
        capacity=arguments.capacity,
        events=arguments.events,
        root=arguments.root,
        sim=sim_settings(arguments),
        anonymous=arguments.anonymous,
        denied=tuple(parse_denial(text) for text in arguments.deny),
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        tls_client_ca=arguments.tls_client_ca,
        watch_list=not arguments.no_watch_list,
        history=arguments.history,
    )


def sim_settings(arguments: argparse.Namespace) -> SimSettings:
    """The settings of simulated pods the command line asks for.

    Raises:
        ValueError: for shares or ranges that make no sense.
    """
    given: dict[str, Any] = {"seed": arguments.seed}
    mix: dict[str, float] = {}
    for text in arguments.mix:
        outcome, _, share = text.partition("=")
        mix[outcome] = float(share)
    for name in ("start_seconds", "run_seconds"):
        if text := getattr(arguments, name):
            low, _, high = text.partition(":")
            given[name] = (float(low), float(high or low))
    return SimSettings(mix=mix, **given)


async def serve(config: ClusterConfig, kubeconfig: Path | None, parent: int | None) -> None:
    """Runs a cluster until SIGTERM, SIGINT or the end of the parent process."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    cluster = DevCluster(config)
    await cluster.start()
    try:
        if kubeconfig is not None:
            cluster.kubeconfig(kubeconfig)
        print(f"ready {cluster.url}", flush=True)
        while not stopped.is_set():
            try:
                async with asyncio.timeout(_PARENT_CHECK):
                    await stopped.wait()
            except TimeoutError:
                if parent is not None and os.getppid() != parent:
                    break
    finally:
        await cluster.end()


def main() -> int:
    """The command. Exit status: 0 after a regular end, 2 for bad arguments, 1 if the server cannot start."""
    arguments = parse_arguments()
    try:
        config = config_of(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Every version of every object is a tree of dicts without cycles: collecting all generations again and again as
    # they grow cost a tenth of the throughput at 10,000 pods.
    gc.set_threshold(100_000, 50, 1000)
    try:
        asyncio.run(serve(config, arguments.kubeconfig, arguments.parent_pid))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
