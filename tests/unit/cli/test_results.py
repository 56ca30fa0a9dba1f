"""Result lines and the file they go to."""

from __future__ import annotations

import json

import pytest

from shard_executor.cli.errors import CommandError
from shard_executor.cli.progress import failure_line
from shard_executor.cli.results import ResultFile, record_of, timestamp
from shard_executor.core.tries import Used
from shard_executor.supervisor import Report


def test_a_record_has_what_is_known_and_nothing_else():
    times = {"submitted": 1_000.0, "started": 1_001.25, "finished": 1_003.5}
    report = Report(
        "r/a/2",
        "failed",
        True,
        failure_class="container-error",
        reason="Error",
        exit_code=3,
        message="container base exited with code 3",
        log_tail="no luck\n",
        pod="a-1",
        namespace="jobs",
        uid="u",
        attempt=1,
        times=times,
    )
    assert record_of("a", report, Used(2, 1, 1)) == {
        "id": "a",
        "state": "failed",
        "class": "container-error",
        "reason": "Error",
        "message": "container base exited with code 3",
        "exit_code": 3,
        "pod": "a-1",
        "namespace": "jobs",
        "uid": "u",
        "attempt": 1,
        "tries": 3,
        "disruptions": 1,
        "times": {
            "submitted": "1970-01-01T00:16:40.000Z",
            "started": "1970-01-01T00:16:41.250Z",
            "finished": "1970-01-01T00:16:43.500Z",
        },
        "seconds": 2.25,
        "log_tail": "no luck\n",
    }
    assert record_of("b", Report("r/b/0", "revoked", True), Used()) == {
        "id": "b",
        "state": "revoked",
        "namespace": "",
        "attempt": 0,
        "tries": 1,
        "times": {},
    }


def test_milliseconds_are_rounded_not_cut():
    assert timestamp(0.9996) == "1970-01-01T00:00:01.000Z"


def test_lines_are_on_disk_as_soon_as_they_are_appended(tmp_path):
    path = tmp_path / "out.jsonl"
    results = ResultFile(str(path), overwrite=False)
    assert not path.exists()
    results.open()
    results.append([{"id": "ü"}, {"id": "b\n"}])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"id": "ü"}, {"id": "b\n"}]
    results.append([{"id": "c"}])
    assert len(path.read_text().splitlines()) == 3
    results.close()
    results.close()


def test_an_existing_file_is_kept_unless_it_may_be_overwritten(tmp_path):
    path = tmp_path / "out.jsonl"
    early = ResultFile(str(path), overwrite=False)
    path.write_text("old\n")
    with pytest.raises(CommandError, match="the file exists; give another name, or --overwrite"):
        ResultFile(str(path), overwrite=False)
    with pytest.raises(CommandError, match="the file exists"):
        early.open()
    assert path.read_text() == "old\n"
    results = ResultFile(str(path), overwrite=True)
    assert path.read_text() == "old\n"
    results.open()
    results.append([{"id": "a"}])
    results.close()
    assert path.read_text() == '{"id":"a"}\n'


def test_a_failure_in_one_line():
    record = {
        "id": "a",
        "state": "failed",
        "class": "container-error",
        "exit_code": 3,
        "message": "x\n y",
        "pod": "a-1",
    }
    assert failure_line(record) == "failed: task 'a': container-error, exit code 3: x y (pod a-1)"
    record["message"] = "\x1b[2J" + "y" * 400
    assert failure_line(record) == f"failed: task 'a': container-error, exit code 3: \\x1b[2J{'y' * 296}... (pod a-1)"
    record = {"id": "a", "state": "failed", "class": "create-refused", "reason": "Forbidden"}
    assert failure_line(record) == "failed: task 'a': create-refused, Forbidden"
