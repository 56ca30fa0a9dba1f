"""What the supervisor is handed for a try: its ticket is its submission id, and it knows what was known of its pod."""

from __future__ import annotations

import json

import pytest

from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import TaskSpec
from shard_executor.runs.resume import Known
from shard_executor.runs.submissions import submission_of


@pytest.fixture
def builder():
    return PodBuilder(namespace="jobs", instance="i", owner="o", run_id="r")


def test_every_try_has_a_ticket_and_a_pod_of_its_own(builder):
    task = TaskSpec("a/b", image="i", priority=3, namespace="blue")
    first, second = submission_of(builder, task), submission_of(builder, task, 1)
    assert (first.ticket, second.ticket) == ("r/a/b/0", "r/a/b/1")
    for each in (first, second):
        pod = json.loads(each.body.replace("\x00N", "n").replace("\x00A", "0"))
        assert pod["metadata"]["annotations"]["shard-executor/submission"] == each.submission_id == each.ticket
        assert pod["metadata"]["labels"]["shard-executor/bin"] == str(each.bin)
        assert pod["metadata"]["namespace"] == each.namespace == "blue"
        assert (each.bin, each.name_stem, each.priority) == (first.bin, "a/b", 3)
        assert (each.attempt, each.uid, each.began) == (0, None, False)


def test_what_is_known_of_the_pod_goes_along(builder):
    found = submission_of(builder, TaskSpec("a", image="i"), 4, Known(2, "uid", True))
    assert (found.ticket, found.attempt, found.uid, found.began) == ("r/a/4", 2, "uid", True)
