"""The end of a run in words or as one JSON object, and its exit code."""

from __future__ import annotations

from typing import Any

import orjson

from shard_executor.cli.errors import EXIT_ENGINE, EXIT_OK, EXIT_TASKS_FAILED
from shard_executor.cli.progress import failure_line, tail_lines
from shard_executor.cli.results import LEFT, NOT_STARTED, timestamp
from shard_executor.cli.run_settings import Outcome, delete_command
from shard_executor.cli.stop import StopRequest
from shard_executor.cli.streams import print_out
from shard_executor.runs.journal_errors import JournalError

TAIL_LINES = 5  # of a failed task's log in the summary; its result line has all that were fetched


def exit_code_of(outcome: Outcome, stop: StopRequest) -> int:
    """3 if results could not be had or written, 130 or 143 if stopped, 1 if tasks failed, else 0."""
    tally = outcome.tally
    if tally.broken:
        return EXIT_ENGINE
    if stop.exit_code is not None and tally.states["succeeded"] + tally.failed != tally.total:
        return stop.exit_code  # a signal that came when all had ended stopped nothing
    return EXIT_TASKS_FAILED if tally.states["succeeded"] != tally.total else EXIT_OK


def summary_object(
    outcome: Outcome, results: str | None, exit_code: int, resume_with: str | None = None
) -> dict[str, Any]:
    """The summary for `-o json`; `resume_with` is the command that takes the run up again."""
    tally = outcome.tally
    return {
        "run_id": outcome.run_id,
        "namespace": outcome.namespace,
        "instance": outcome.instance,
        "cluster": {"host": outcome.cluster.host, "version": outcome.cluster.version},
        "shards": outcome.shards,
        "parallelism": outcome.parallelism,
        "started": timestamp(outcome.started),
        "seconds": round(tally.seconds, 3),
        "pods_per_second": round(tally.rate, 2),
        "tasks": tally.total,
        "succeeded": tally.states["succeeded"],
        "failed": tally.states["failed"],
        "lost": tally.states["lost"],
        "revoked": tally.states["revoked"],
        "left": tally.states[LEFT],
        "not_started": tally.states[NOT_STARTED],
        "ended_earlier": tally.earlier,
        "retried": tally.retried,
        "resubmitted": tally.resubmitted,
        "failures": [
            {"class": name, "count": count, "example": tally.examples[name]}
            for name, count in tally.classes.most_common()
        ],
        "results": results,
        "journal": str(outcome.journal) if outcome.journal is not None else None,
        "stopped_by": outcome.stopped_by,
        "pods_left": [{"pod": pod, "why": why} for pod, why in tally.pods_left],
        "clean_up_with": _clean_up_with(outcome),
        "resume_with": resume_with if is_unfinished(outcome) else None,
        "error": _error(outcome),
        "exit_code": exit_code,
    }


def is_unfinished(outcome: Outcome) -> bool:
    """Whether there is something to take up again: a journal, and tasks in it that have not ended."""
    tally = outcome.tally
    if outcome.journal is None or tally.taken:
        return False
    return tally.broken or tally.states["succeeded"] + tally.failed < tally.total or bool(tally.unsaved)


def _clean_up_with(outcome: Outcome) -> str | None:
    """The command that removes what may be left of the run on the cluster, or None."""
    tally = outcome.tally
    left = tally.unconfirmed or tally.unsaved or tally.pods_left or tally.left or not tally.cleaned
    if tally.taken or not left:
        return None
    return delete_command(outcome.namespaces or [outcome.namespace], outcome.instance)


def _error(outcome: Outcome) -> str | None:
    """Why the run was broken off, or None."""
    tally = outcome.tally
    if tally.taken:
        return f"{tally.write_error}; the pods are left to it"
    if isinstance(tally.write_error, JournalError):
        return f"{tally.write_error}; pods are left where they are, for whoever takes the run up again"
    if tally.write_error is not None:
        kept = ""
        if tally.unsaved:
            several = tally.unsaved > 1
            kept = f"; the pods of {tally.unsaved} tasks that have" if several else "; the pod of a task that has"
            kept += f" ended {'are' if several else 'is'} kept"
        elif outcome.journal is not None:
            kept = "; the journal has every result so far"
        return f"results could not be written: {tally.write_error}{kept}"
    return tally.engine_error


def summary_text(outcome: Outcome, results: str | None, resume_with: str | None = None) -> str:
    """The summary for a person: counts, failures by class with an example of each, and what is left to do."""
    tally = outcome.tally
    counts = [f"{tally.states['succeeded']} succeeded", f"{tally.states['failed']} failed"]
    for state in ("lost", "revoked", LEFT, NOT_STARTED):
        if tally.states[state]:
            words = {NOT_STARTED: "not started", LEFT: "left running"}.get(state, state)
            counts.append(f"{tally.states[state]} {words}")
    head = "stopped" if outcome.stopped_by or tally.broken else "finished"
    earlier = f" ({tally.earlier} ended before this run was taken up again)" if tally.earlier else ""
    lines = [
        f"{head}: {tally.total} task{'s' if tally.total != 1 else ''}: {', '.join(counts)}{earlier}; "
        f"{tally.seconds:.1f} s, {tally.rate:.1f} pods/s, {outcome.shards} shard{'s' if outcome.shards != 1 else ''} "
        f"(run {outcome.run_id}, namespace {outcome.namespace})"
    ]
    again = []
    if tally.retried:
        again.append(
            "1 try failed and was repeated" if tally.retried == 1 else f"{tally.retried} tries failed and were repeated"
        )
    if tally.resubmitted:
        pods = (
            "1 pod that the cluster took away was"
            if tally.resubmitted == 1
            else f"{tally.resubmitted} pods that the cluster took away were"
        )
        again.append(f"{pods} replaced")
    if again:
        lines.append("  " + "; ".join(again))
    for name, count in tally.classes.most_common():
        example = tally.examples[name]
        lines += [f"  {count} x {name}{', for example' if count > 1 else ''}:", f"    {failure_line(example)}"]
        lines += [f"      | {line}" for line in tail_lines(example, TAIL_LINES)]
    if results is not None and results != "-":
        lines.append(f"results: {results}")
    error = _error(outcome)
    if error is not None:
        lines.append(f"broken off: {error}")
    lines += [f"pod {pod} could not be removed: {why}" for pod, why in tally.pods_left[:5]]
    if resume_with is not None and is_unfinished(outcome):
        lines.append(f"take it up again with: {resume_with}")
    command = _clean_up_with(outcome)
    if command:
        lines.append(f"pods of this run {'go on' if tally.left else 'may be left'}; remove them with: {command}")
    return "\n".join(lines)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object, indented, on standard output."""
    print_out(orjson.dumps(value, option=orjson.OPT_INDENT_2))
