"""The builder process: started when needed, replaced when it dies, gone when it is idle or its parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from generation_cases import pod_of, request_of, until
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import BuildError, BuiltPod


class _Kills:
    """Kills whoever unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)


def test_constructing_starts_nothing_and_imports_nothing():
    code = (
        "import sys, psutil\n"
        "from shard_executor.airflow.generation import PodFactory, GenerationSettings\n"
        "PodFactory(GenerationSettings(owner='1', instance='i'))\n"
        "assert not psutil.Process().children()\n"
        "heavy = {'airflow', 'kubernetes', 'yaml', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


def test_start_does_not_wait_and_end_ends(make_factory):
    factory = make_factory()
    factory.start()
    process = psutil.Process(factory.builder_pid)
    assert isinstance(factory.build([request_of()])[0], BuiltPod)
    assert factory.builder_pid == process.pid
    factory.end()
    assert factory.builder_pid is None
    assert not process.is_running()
    factory.end()


def test_a_builder_that_was_killed_is_replaced(make_factory):
    factory = make_factory()
    factory.build([request_of()])
    first = factory.builder_pid
    os.kill(first, signal.SIGKILL)
    (built,) = factory.build([request_of(image="new:1")])
    assert isinstance(built, BuiltPod)
    assert factory.builder_pid not in (None, first)


def test_a_request_that_kills_builders_fails_alone(make_factory):
    bad = k8s.V1Pod(metadata=k8s.V1ObjectMeta(annotations={"x": _Kills()}))
    overrides = [None, bad, k8s.V1Pod(metadata=k8s.V1ObjectMeta(labels={"a": "b"}))]
    built = make_factory().build([request_of(pod_override=override) for override in overrides])
    assert [type(one) for one in built] == [BuiltPod, BuildError, BuiltPod]
    assert built[1].reason == "BuilderDied"
    assert "ended with exit code 7 each time" in built[1].message
    assert pod_of(built[2])["metadata"]["labels"]["a"] == "b"


def test_an_idle_builder_ends_and_comes_back(make_factory):
    factory = make_factory(idle_timeout=0.3)
    assert isinstance(factory.build([request_of()])[0], BuiltPod)
    until(lambda: factory.builder_pid is None)
    (cached,) = factory.build([request_of(task_id="other")])
    assert isinstance(cached, BuiltPod)
    assert factory.builder_pid is None  # what is compiled needs none
    (new,) = factory.build([request_of(image="new:2")])
    assert pod_of(new)["spec"]["containers"][0]["image"] == "new:2"


@pytest.mark.parametrize(
    "hook", ["", "import time\ndef pod_mutation_hook(pod): time.sleep(3600)\n"], ids=["idle", "in hook"]
)
def test_a_builder_dies_with_its_parent(tmp_path, monkeypatch, local_settings, hook):
    """Killed outright, and with a fork that still holds the parent's end of the channel."""
    if hook:
        local_settings(hook)
    code = (
        "import os, sys, time, threading\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from generation_cases import request_of, settings_of\n"
        "from shard_executor.airflow.generation import PodFactory\n"
        "factory = PodFactory(settings_of())\n"
        "factory.start()\n"
        "factory._builder.know_hooks()\n"
        "fork = os.fork()\n"
        "if fork == 0:\n"
        "    time.sleep(600)\n"
        "print(factory.builder_pid, fork, flush=True)\n"
        "factory.build([request_of()])\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        builder, fork = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
        parent.kill()
        parent.wait()
        try:
            until(lambda: not builder.is_running() or builder.status() == psutil.STATUS_ZOMBIE)
        finally:
            fork.kill()


def test_a_deployment_whose_settings_cannot_be_imported(make_factory, local_settings):
    local_settings("import no_such_module_anywhere\n")
    factory = make_factory()
    built = factory.build([request_of(), request_of(task_id="x")])
    again = factory.build([request_of()])
    for one in (*built, *again):
        assert isinstance(one, BuildError)
        assert one.reason == "BuilderUnavailable"
        assert one.transient
        assert "no_such_module_anywhere" in one.message
    assert factory.builder_pid is None
    local_settings("")
    until(lambda: isinstance(factory.build([request_of()])[0], BuiltPod))


def test_after_the_end_only_what_is_compiled_is_built(make_factory):
    factory = make_factory()
    factory.build([request_of()])
    factory.end()
    cached, refused = factory.build([request_of(task_id="x"), request_of(image="new:3")])
    assert isinstance(cached, BuiltPod)
    assert isinstance(refused, BuildError)
    assert refused.transient
    factory.start()
    assert isinstance(factory.build([request_of(image="new:3")])[0], BuiltPod)


def test_ending_wakes_a_thread_that_builds(make_factory, local_settings):
    local_settings("import time\ndef pod_mutation_hook(pod): time.sleep(3600)\n")
    factory = make_factory()
    factory.start()
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(factory.build([request_of(), request_of(task_id="x")])))
    thread.start()
    until(lambda: factory._builder.hooks)
    factory.end()
    thread.join(20)
    assert [one.reason for one in answers] == ["BuilderUnavailable"] * 2
    assert factory.builder_pid is None


def test_other_policies_are_no_hook(make_factory, local_settings):
    local_settings("def task_policy(task): pass\n")
    factory = make_factory(idle_timeout=0.2)
    factory.build([request_of()])
    until(lambda: factory.builder_pid is None)


def test_many_shapes_at_once(make_factory):
    """More than are kept, in one batch with values that are larger than the socket's buffers."""
    made = [request_of(image=f"image:{n % 600}", task_id=f"t{n}", workload_json="x" * 20_000) for n in range(700)]
    built = make_factory().build(made)
    assert [pod_of(one)["spec"]["containers"][0]["image"] for one in built] == [request.image for request in made]
    assert [pod_of(one)["metadata"]["labels"]["task_id"] for one in built] == [request.task_id for request in made]
