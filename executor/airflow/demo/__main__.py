"""``python -m shard_executor.airflow.demo``: a real Airflow on a development cluster, a DAG, and what came of it."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from shard_executor.airflow.demo.api import TERMINAL, Json
from shard_executor.airflow.demo.component import DemoError
from shard_executor.airflow.demo.home import AirflowHome
from shard_executor.airflow.demo.layout import OURS, STOCK, USER, HomeSettings
from shard_executor.airflow.demo.show import Speaker, summary, table
from shard_executor.airflow.demo.verdict import figures, problems, read_records, rows
from shard_executor.devcluster.process import DevClusterError, DevClusterProcess

DAG_ID = "shard_executor_demo"
MAPPED = "SHARD_EXECUTOR_DEMO_MAPPED"  # names the number of mapped tasks
_STANDSTILL = 180.0  # seconds without any change after which the run is given up
_PODS_LIMIT = 30.0  # seconds for the last pods to be deleted
_PAUSE = 0.5
_SHORT = {"stock": STOCK, "ours": OURS}


class _Told(Exception):
    """A signal asked for the end."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--executor", default=OURS, show_default=True, help="[core] executor; `stock` is the provider's.")
@click.option("--tasks", type=click.IntRange(1, 1000), default=30, show_default=True, help="How many mapped tasks.")
@click.option("--parallelism", type=click.IntRange(1), default=4, show_default=True, help="Tasks at a time.")
@click.option("--kills", type=click.IntRange(0, 20), default=0, help="Kill the scheduler so often (SIGKILL) meanwhile.")
@click.option("--ui", is_flag=True, help="Stay up afterwards, until Ctrl-C, and say where to look.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the API server.  [default: a free one]")
@click.option("--folder", type=click.Path(path_type=Path), help="Where everything goes; it stays there.")
def main(executor: str, tasks: int, parallelism: int, kills: int, ui: bool, port: int, folder: Path | None) -> None:
    """Runs a DAG with mapped tasks, retries, a failing task and a pod_override on a real Airflow.

    Scheduler, API server and DAG processor are processes of this machine, the workers are pods of a development
    cluster, that is processes too. Everything ends with the command.

    Exit codes: 0 everything as expected, 1 something was not, 2 it could not start or broke down, 130 and 143 ended by
    Ctrl-C and SIGTERM before the run was over.
    """
    if importlib.util.find_spec("airflow") is None:
        click.echo("Airflow is not installed: pip install 'shard-executor[airflow]'", err=True)
        sys.exit(2)
    chosen = _SHORT.get(executor, executor)
    # The stock executor creates one pod a heartbeat by default.
    batch = {"kubernetes_executor.worker_pods_creation_batch_size": str(parallelism)}
    settings = HomeSettings(
        executor=chosen,
        parallelism=parallelism,
        port=port,
        variables={MAPPED: str(tasks)},
        options=batch if chosen == STOCK else {},
    )
    speaker = Speaker()
    home = folder or Path(tempfile.mkdtemp(prefix="shard-executor-airflow-"))
    code = 2
    with _signals() as told:
        try:
            home.mkdir(parents=True, exist_ok=True)
            code = _demo(home, settings, tasks, kills, ui, speaker)
        except (DemoError, DevClusterError, OSError) as error:
            speaker.say(f"error: {error}")
        except _Told:
            code = 128 + told[0]
            speaker.say("ended by a signal")
    if folder is None and code in (0, 130, 143):
        shutil.rmtree(home, ignore_errors=True)
    elif code:
        speaker.say(f"logs are in {home}")
    sys.exit(code)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end the demo in order, once; the list gets the signal's number."""
    told: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if not told:
            told.append(number)
            raise _Told

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _demo(folder: Path, settings: HomeSettings, mapped: int, kills: int, ui: bool, speaker: Speaker) -> int:
    with DevClusterProcess(["--kubelet", "process"]) as cluster:
        speaker.say(f"development cluster at {cluster.url}")
        with AirflowHome(folder, cluster.kubeconfig, settings) as home:
            home.prepare([Path(__file__).with_name("demo_dag.py")])
            speaker.say(f"database is there; starting Airflow with {settings.executor}")
            home.start_all()
            home.wait_for_dags(DAG_ID)
            speaker.say(f"Airflow is up at {home.layout.url}")
            run_id = home.api.trigger(DAG_ID, "demo")
            run = _follow(home, run_id, kills, speaker)
            found = _report(home, cluster, run, mapped, speaker)
            if ui:
                _stay(home, cluster, speaker)
            speaker.say("ending everything")
            return 1 if found else 0


def _follow(home: AirflowHome, run_id: str, kills: int, speaker: Speaker) -> Json:
    """Shows how the run goes on until it is over; kills the scheduler on the way as often as asked."""
    changed, last, killed = time.monotonic(), Counter[str](), 0
    while True:
        home.check()
        run = home.api.run(DAG_ID, run_id)
        states = Counter(str(task["state"] or "waiting") for task in home.api.tasks(DAG_ID, run_id))
        speaker.progress(states)
        if run["state"] in TERMINAL:
            return run
        if states != last:
            changed, last = time.monotonic(), states
        elif time.monotonic() - changed > _STANDSTILL:
            words = home.component("scheduler").tail()
            raise DemoError(f"nothing has changed for {_STANDSTILL:.0f} s: {dict(states)}; {words}")
        over = sum(count for state, count in states.items() if state in TERMINAL)
        if killed < kills and over * (kills + 1) >= states.total() * (killed + 1):
            killed += 1
            speaker.say(f"killing the scheduler ({killed} of {kills})")
            home.component("scheduler").kill()
            home.end_component("scheduler")
            home.start_scheduler()
            speaker.say("another scheduler is up")
        time.sleep(_PAUSE)


def _report(home: AirflowHome, cluster: DevClusterProcess, run: Json, mapped: int, speaker: Speaker) -> list[str]:
    """Prints what happened; returns what was not as expected."""
    tasks = home.api.tasks(DAG_ID, run["dag_run_id"])
    records = read_records(home.layout.records)
    deadline = time.monotonic() + _PODS_LIMIT
    while True:
        pods = cluster.call("GET", "/api/v1/namespaces/default/pods")["items"]
        found = problems(run, tasks, records, mapped, pods)
        if not found or time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)
    listed = rows(tasks, records)
    speaker.say("the run is over")
    used = len({line["pod"] for line in records})
    click.echo("\n".join([*table(listed), "", *summary(listed, figures(run, tasks), used, found)]))
    return found


def _stay(home: AirflowHome, cluster: DevClusterProcess, speaker: Speaker) -> None:
    """Until a signal asks for the end, which is a regular one then."""
    click.echo(
        f"\nAirflow's pages   {home.layout.url}\nuser, password    {USER}, {home.layout.password}\n"
        f"DAG files         {home.layout.dags}\nlogs              {home.layout.folder}\n"
        f"the cluster       export KUBECONFIG={cluster.kubeconfig}; kubectl get pods\n"
    )
    speaker.say("Ctrl-C ends everything")
    with contextlib.suppress(_Told):
        while True:
            home.check()
            time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
