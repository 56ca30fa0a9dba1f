"""Stand-ins for a task's values that can be found again in the finished pod, raw or made into a label value."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence

from shard_executor.airflow.generation import plan
from shard_executor.airflow.generation.subject import Subject

_LABELS = {plan.DAG: plan.DAG_LABEL, plan.TASK: plan.TASK_LABEL, plan.RUN: plan.RUN_LABEL}


class _Marked(int):
    """A number that writes itself as a marker but compares as the number it stands for."""

    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(self.text, spec)


class Markers:
    """A set of markers, random, so that nothing in a template or an override can look like one.

    A raw marker holds a character that no label value may have. So its form as a label value differs from it, and
    where a value went as it is and where as a label value can be told apart.

    Args:
        safe: makes text a label value, as the pod's generator does it.
    """

    def __init__(self, safe: Callable[[str], str]) -> None:
        self.token = secrets.token_hex(12)
        self._slots: dict[str, int] = {}
        for slot in range(13):
            if slot not in _LABELS.values():
                self._slots[self._raw(slot)] = slot
        for slot, label in _LABELS.items():
            self._slots[safe(self._raw(slot))] = label
        self._pattern = re.compile("|".join(re.escape(text) for text in self._slots))

    def _raw(self, slot: int) -> str:
        return f"{self.token}/{chr(ord('a') + slot)}"

    def _number(self, slot: int, number: int) -> int:
        marked = _Marked(number)
        marked.text = self._raw(slot)
        return marked

    def put(self, subject: Subject) -> Subject:
        """A subject of the same shape with markers for values."""
        raw = self._raw
        return subject._replace(
            dag_id=raw(plan.DAG),
            task_id=raw(plan.TASK),
            run_id=subject.run_id and raw(plan.RUN),
            try_number=self._number(plan.TRY, subject.try_number),
            map_index=self._number(plan.MAP, subject.map_index),
            workload=raw(plan.WORKLOAD),
            ti_id=None if subject.ti_id is None else raw(plan.TI),
            date=None if subject.date is None else raw(plan.DATE),
            submission=raw(plan.SUBMISSION),
            bin=raw(plan.BIN),
        )

    def cut(self, text: str) -> tuple[list[str], list[int]]:
        """The text between the markers, and which values they stand for."""
        texts: list[str] = []
        slots: list[int] = []
        at = 0
        for found in self._pattern.finditer(text):
            texts.append(text[at : found.start()])
            slots.append(self._slots[found.group()])
            at = found.end()
        texts.append(text[at:])
        return texts, slots

    def fill(self, text: str, values: Sequence[str]) -> str:
        """The text with values, by number of slot, in place of markers."""
        return self._pattern.sub(lambda found: values[self._slots[found.group()]], text)
