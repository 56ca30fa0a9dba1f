"""What a user reads of a pod's end: for every class, with and without each of the facts that a report may lack."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest

from shard_executor.airflow.words import MEANINGS, event_extra, failure_words, short_info
from shard_executor.core.failures import FailureClass
from shard_executor.supervisor.config import Report

FULL = Report(
    "ticket",
    "failed",
    True,
    reason="Error",
    exit_code=1,
    message="something\nhappened",
    log_tail="first line\nlast line\n",
    pod="dag-task-abc",
    namespace="jobs",
    attempt=2,
    times={"submitted": 1.0, "created": 1.5, "started": 2.0, "finished": 5.25, "reported": 6.0},
)
OPTIONAL = ("reason", "exit_code", "message", "log_tail", "pod", "namespace", "times")
ABSENT: dict[str, Any] = {"pod": "", "namespace": "", "times": {}}


def same(text: str) -> str:
    return text


def with_container(report: Report, container: str | None) -> Any:
    """The report with a `container`, whether or not the record has that field."""
    values = {each.name: getattr(report, each.name) for each in fields(report)}
    return SimpleNamespace(**{**values, "container": container})


def test_every_class_has_a_meaning() -> None:
    assert set(MEANINGS) == set(FailureClass)


@pytest.mark.parametrize("failure", [*FailureClass, None, "of-a-later-release"])
def test_words_are_never_empty_and_never_none(failure: str | None) -> None:
    for missing in itertools.chain.from_iterable(itertools.combinations(OPTIONAL, n) for n in range(len(OPTIONAL) + 1)):
        report = replace(FULL, failure_class=failure, **{name: ABSENT.get(name) for name in missing})
        for container, mask in itertools.product(("base", None), (same, None)):
            shown = with_container(report, container)
            for words in (failure_words(shown, mask), short_info(shown, mask), event_extra(shown, mask)):
                assert words.strip()
                assert "None" not in words
                assert "()" not in words
                assert ": :" not in words
            assert "\n" not in failure_words(shown, mask)
            assert (str(failure) if failure else "failed") in failure_words(shown, mask)


def test_one_line_names_class_container_reason_exit_code_and_message() -> None:
    report = with_container(replace(FULL, failure_class="oom-killed", reason="OOMKilled", exit_code=137), "base")
    assert failure_words(report, same) == (
        "oom-killed (container base, OOMKilled, exit code 137, SIGKILL): something happened"
    )
    assert short_info(report, same).startswith("pod jobs/dag-task-abc, launch attempt 3: oom-killed (container base,")


def test_event_says_what_is_known_in_lines() -> None:
    assert event_extra(with_container(replace(FULL, failure_class="container-error"), "base"), same).splitlines() == [
        "container-error (container base, Error, exit code 1)",
        "The container ended with an exit code other than 0.",
        "message: something",
        "happened",
        "pod jobs/dag-task-abc, launch attempt 3",
        "created 1970-01-01T00:00:01.500Z, started 1970-01-01T00:00:02.000Z, "
        "finished 1970-01-01T00:00:05.250Z, ran 3.2 s",
        "the end of its log:",
        "  first line",
        "  last line",
    ]


def test_a_pod_that_was_never_created() -> None:
    report = Report("t", "failed", True, "create-refused", "Forbidden", None, "exceeded quota: team", namespace="jobs")
    assert short_info(report) == "no pod was created: create-refused (Forbidden): exceeded quota: team"
    assert event_extra(report, None).splitlines() == [
        "create-refused (Forbidden)",
        "The API server refused to create the pod, or did not answer in time.",
        "message: exceeded quota: team",
        "no pod was created",
    ]


@pytest.mark.parametrize("state", ["succeeded", "lost", "revoked", "handed-over", "running", "pending", "waiting"])
def test_other_states(state: str) -> None:
    report = Report("t", state, True)
    assert failure_words(report) == state
    assert state in short_info(report)
    assert event_extra(replace(report, exit_code=0), None).splitlines()[0].startswith(state)


@pytest.mark.parametrize("nothing", [None, "", "  ", "None", "\n"])
def test_empty_words_count_as_missing(nothing: str | None) -> None:
    report = Report("t", "failed", True, "unknown", nothing, None, nothing, nothing)
    assert failure_words(report, same) == "unknown"
    assert event_extra(report, same) == f"unknown\n{MEANINGS[FailureClass.UNKNOWN]}\nno pod was created"


def test_without_a_mask_a_container_is_not_quoted_and_a_note_says_so() -> None:
    report = replace(FULL, failure_class="container-error", message="key is hunter2", log_tail="hunter2")
    for words in (failure_words(report, None), short_info(report, None), event_extra(report, None)):
        assert "hunter2" not in words
        assert "left out" in words
    assert event_extra(report, None).count("left out") == 2
    refused = replace(FULL, failure_class="image-error", message="pull access denied", log_tail=None)
    assert "pull access denied" in failure_words(refused, None)


def test_by_default_airflows_masker_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    report = replace(FULL, failure_class="container-error", message="the api_key=hunter2 is wrong")
    assert failure_words(report) == "container-error (Error, exit code 1): the api_key=*** is wrong"
    monkeypatch.setattr("shard_executor.airflow.masking._found", lambda: None)
    assert failure_words(report) == (
        "container-error (Error, exit code 1) (its message is left out, since masking it failed)"
    )


def test_a_mask_that_fails_shows_nothing() -> None:
    def broken(text: str) -> str:
        raise RuntimeError(f"cannot mask {text}")

    report = replace(FULL, failure_class="container-error", message="hunter2", log_tail="hunter2")
    assert "hunter2" not in event_extra(report, broken)
    assert event_extra(report, broken).count("masking it failed") == 2


def test_the_mask_sees_the_whole_before_anything_is_cut() -> None:
    secret = "s3cr3t" * 10
    report = replace(FULL, failure_class="container-error", message=None, log_tail=f"{secret}{'x' * 3980}")
    assert "s3cr3t" not in event_extra(report, lambda text: text.replace(secret, "***"))


@pytest.mark.parametrize(
    ("tail", "lines"),
    [
        ("\n".join(f"line {n}" for n in range(200)), 51),
        ("x" * 100_000, 1),
        ("\n".join("y" * 1000 for _ in range(50)), 4),
        ("a" + "\n" * 300 + "the end", 51),
    ],
)
def test_the_tail_is_bounded_and_keeps_the_end(tail: str, lines: int) -> None:
    extra = event_extra(replace(FULL, failure_class="container-error", log_tail=tail), same)
    shown = extra.split("the end of its log:\n")[1].splitlines()
    assert len(shown) == lines
    assert len("\n".join(shown)) < 4400
    assert shown[-1].endswith(tail[-7:])
    assert "lines before" in shown[0] or shown[0].startswith("  ... xxx")


def test_messages_are_bounded() -> None:
    report = replace(FULL, failure_class="create-refused", message="no " * 10_000, log_tail=None)
    assert len(failure_words(report)) < 600
    assert len(short_info(report)) <= 300
    assert len(event_extra(report, None)) < 2500


def test_what_a_database_or_terminal_chokes_on_is_taken_out() -> None:
    tail = "\x1b[31mred\x1b[0m\x00 \x07bell \ud800half\r\ntab\tkept ünï \x1b]0;title\x07end\x1b"
    extra = event_extra(replace(FULL, failure_class="container-error", log_tail=tail), same)
    extra.encode("utf-8")
    assert extra.endswith("  red bell ?half\n  tab\tkept ünï end")


def test_what_only_repeats_is_left_out() -> None:
    report = replace(FULL, failure_class="unknown", reason="unknown", message="container base exited with code 1")
    assert failure_words(report, None) == "unknown (exit code 1)"


@pytest.mark.parametrize(("code", "words"), [(143, "exit code 143, SIGTERM"), (255, "exit code 255)"), (-1, "code -1")])
def test_exit_codes_of_signals(code: int, words: str) -> None:
    assert words in failure_words(replace(FULL, failure_class="container-error", exit_code=code), same)


def test_a_report_of_an_older_engine_has_no_container() -> None:
    assert failure_words(replace(FULL, failure_class="container-error", message=None)) == (
        "container-error (Error, exit code 1)"
    )
