"""Tasks of a `PodExecutor`: every field reaches the pod, and all pods go to the executor's one namespace."""

from __future__ import annotations

import json

import pytest

from shard_executor import PodExecutor, TaskError, TaskSpec
from shard_executor.futures.pods import TaskPods, read_template
from shard_executor.pods.template import TemplateError

ELSEWHERE = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "other"}, "spec": {}}


def make_pods(template=None, namespace="jobs"):
    pods = TaskPods(read_template(template), instance="i", run_id="r")
    if namespace is not None:
        pods.settle(namespace)
    return pods


def test_a_submission_has_the_tasks_priority_and_its_try():
    pods = make_pods()
    task = TaskSpec("a", image="i", priority=9, timeout=5, service_account="w", namespace="jobs")
    pods.check(task)
    first, third = pods.submission(task), pods.submission(task, 2)
    assert (first.priority, first.namespace, first.submission_id, third.submission_id) == (9, "jobs", "r/a/0", "r/a/2")
    pod = json.loads(third.body.replace("\x00N", "n").replace("\x00A", "0"))
    assert pod["metadata"]["annotations"]["shard-executor/submission"] == "r/a/2"
    assert (pod["spec"]["activeDeadlineSeconds"], pod["spec"]["serviceAccountName"]) == (5, "w")


def test_another_namespace_is_refused_once_the_executors_is_known(tmp_path):
    path = tmp_path / "pod.yaml"
    path.write_text(json.dumps(ELSEWHERE))
    task = TaskSpec("a", image="i", namespace="other")
    make_pods(namespace=None).check(task)
    with pytest.raises(
        TaskError, match="task 'a': field 'namespace' is 'other' but this executor's is 'jobs'"
    ) as caught:
        make_pods().check(task)
    assert caught.value.field == "namespace"
    with pytest.raises(TemplateError, match=r"metadata\.namespace is 'other' but this executor's namespace is 'jobs'"):
        make_pods().check(TaskSpec("a", image="i", template=str(path)))
    with pytest.raises(TemplateError, match=r"make a PodExecutor with that namespace$"):
        make_pods(ELSEWHERE)
    bound = make_pods(ELSEWHERE, namespace="other")
    bound.check(task)
    assert bound.submission(task).namespace == "other"


@pytest.mark.parametrize(
    "field", ["retries", "timeout", "priority", "namespace", "service_account", "node_selector", "tolerations"]
)
def test_submit_takes_each_field_as_a_keyword(field):
    executor = PodExecutor()
    with pytest.raises(TaskError, match=rf"task 'x': field '{field}' must be .*not true"):
        executor.submit("true", id="x", image="i", **{field: True})
    assert executor.stats() == []
