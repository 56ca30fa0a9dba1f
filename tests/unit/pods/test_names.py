"""Pod names are labels, say what they are of, and are the same for the same attempt only."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard_executor.pods.names import pod_name

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@given(st.text(), st.text(), st.integers(0, 10**6))
def test_a_name_is_an_rfc_1123_label_and_repeats(stem: str, submission: str, attempt: int) -> None:
    name = pod_name(stem, submission, attempt)
    assert LABEL.fullmatch(name)
    assert len(name) <= 63
    assert name == pod_name(stem, submission, attempt)
    assert name != pod_name(stem, submission, attempt + 1)
    assert name != pod_name(stem, submission + "x", attempt)


@pytest.mark.parametrize(
    ("stem", "begins"),
    [("My_DAG.task", "my-dag-task-"), ("日本", "task-"), ("--x--", "x-"), ("a" * 100, "a" * 46 + "-")],
)
def test_a_name_begins_with_what_a_reader_recognises(stem: str, begins: str) -> None:
    assert pod_name(stem, "s", 0).startswith(begins)
