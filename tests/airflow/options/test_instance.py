"""The instance label: safe, readable where it can be, never the same for two executors."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard_executor.airflow.instance import instance_label, is_deployment, is_foreign

LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
NAMES = st.text(min_size=1, max_size=80) | st.sampled_from(
    ["default", "airflow", "a", "a.b", "b", "A", "team_1", "-x-"]
)
DEPLOYMENTS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,30}[A-Za-z0-9])?", fullmatch=True).filter(is_deployment)


@pytest.mark.parametrize(
    ("parts", "label"),
    [
        (("airflow", None, None), "airflow.default"),
        (("airflow", None, "KubernetesExecutor"), "airflow.KubernetesExecutor"),
        (("prod", "red_team", None), "prod.red_team.default"),
        (("prod", "red", "short"), "prod.red.short"),
    ],
)
def test_plain_names_stay_readable(parts: tuple[str, str | None, str | None], label: str) -> None:
    assert instance_label(*parts) == label


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", None, "b.c"), ("a", "b", "c")),
        (("a", "x", None), ("a", None, "x")),
        (("a", None, "default"), ("a", None, None)),
        (("a", "n" * 70, None), ("a", "n" * 71, None)),
        (("a", "one two", None), ("a", "one-two", None)),
        (("a", None, "Umlaut-ä"), ("a", None, "Umlaut-ö")),
    ],
)
def test_different_executors_differ(
    one: tuple[str, str | None, str | None], other: tuple[str, str | None, str | None]
) -> None:
    assert instance_label(*one) != instance_label(*other)


@given(DEPLOYMENTS, st.none() | NAMES, st.none() | NAMES)
def test_always_a_label_value(deployment: str, team: str | None, alias: str | None) -> None:
    value = instance_label(deployment, team, alias)
    assert LABEL_VALUE.fullmatch(value)
    assert value == instance_label(deployment, team, alias)
    assert not is_foreign(value, deployment)
    assert is_foreign(value, deployment + "x"[: 32 - len(deployment)] or "other")


@given(st.lists(st.tuples(DEPLOYMENTS, st.none() | NAMES, st.none() | NAMES), unique=True))
def test_never_the_same_twice(executors: list[tuple[str, str | None, str | None]]) -> None:
    assert len({instance_label(*parts) for parts in executors}) == len(executors)


def test_a_pod_without_the_label_is_nobodys() -> None:
    assert not is_foreign(None, "airflow")
