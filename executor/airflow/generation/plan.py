"""A compiled pod: its JSON text cut where a task's own values go, and the values that go there.

A value goes inside a JSON string, escaped, or is a label value, which needs no escaping. The pod's name and the launch
attempt stay open for the shard, as raw characters that JSON text cannot hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from shard_executor.airflow.generation.labels import label_value
from shard_executor.airflow.generation.request import BuildError, PodRequest

# What a slot holds, by its number.
DAG, DAG_LABEL, TASK, TASK_LABEL, RUN, RUN_LABEL, TRY, MAP, WORKLOAD, TI, DATE, SUBMISSION, BIN = range(13)

_NUMBERS = tuple(str(number) for number in range(256))


@dataclass(frozen=True, slots=True)
class Plan:
    """Texts and, between them, slots: `texts[0]`, the value of `slots[0]`, `texts[1]` ... `texts[-1]`.

    Args:
        namespace: where the pod goes, whichever task it is.
    """

    parts: list[str]
    slots: tuple[tuple[int, int], ...]
    namespace: str

    @classmethod
    def of(cls, texts: Sequence[str], slots: Sequence[int], namespace: str) -> Plan:
        """Raises ValueError if the texts are not one more than the slots."""
        parts = [""] * (len(texts) + len(slots))
        parts[::2] = texts
        return cls(parts, tuple([(2 * at + 1, slot) for at, slot in enumerate(slots)]), namespace)

    def fill(self, values: Sequence[str]) -> str:
        parts = self.parts.copy()
        for position, slot in self.slots:
            parts[position] = values[slot]
        return "".join(parts)


@lru_cache(maxsize=8192)
def _identifier(text: str) -> tuple[str, str]:
    if "\0" in text:
        raise ValueError("NUL")
    return _escaped(text), label_value(text)


def _escaped(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]


def check_identifiers(request: PodRequest) -> None:
    """Raises BuildError if an id cannot stand in a pod at all: neither JSON nor an environment could carry it."""
    for name in ("dag_id", "task_id", "run_id", "ti_id", "submission_id", "namespace"):
        text = getattr(request, name)
        if text is None and name == "ti_id":
            continue
        if not isinstance(text, str):
            raise BuildError("InvalidIdentifier", f"{name} must be text, not {text!r}")
        if "\0" in text:
            raise BuildError("InvalidIdentifier", f"{name} {text!r} has a NUL character, which no pod can carry")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BuildError(
                "InvalidIdentifier", f"{name} {text!r} is no Unicode text: lone surrogate at position {error.start}"
            ) from None


def values_of(request: PodRequest) -> tuple[str, ...]:
    """A task's values, by number of slot, each as it stands inside a JSON string.

    Raises:
        BuildError: InvalidIdentifier: names the field.
    """
    try:
        dag = _identifier(request.dag_id)
        task = _identifier(request.task_id)
        run = _identifier(request.run_id)
        number = request.bin
        date = request.logical_date
        return (
            dag[0],
            dag[1],
            task[0],
            task[1],
            run[0],
            run[1],
            str(request.try_number),
            str(request.map_index),
            _escaped(request.workload_json),
            "" if request.ti_id is None else _escaped(request.ti_id),
            "" if date is None else date.isoformat(),
            _escaped(request.submission_id),
            _NUMBERS[number] if 0 <= number < 256 else str(number),
        )
    except (TypeError, ValueError):
        check_identifiers(request)
        raise BuildError("InvalidWorkload", "the workload's JSON is no Unicode text") from None
