"""How messages about tasks and templates are worded: the error, a value as it is shown, a word that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

_LONG_NUMBER = 128  # bits; a longer one is not written out


class TaskError(ValueError):
    """A task says something it may not.

    Attributes:
        task_id: the task's id where it is known, else None.
        field: the field at fault.
        problem: what is wrong and what is allowed, without the task's name.
    """

    def __init__(self, task_id: str | None, field: str, problem: str) -> None:
        super().__init__(f"task {task_id!r}: {problem}" if task_id is not None else problem)
        self.task_id = task_id
        self.field = field
        self.problem = problem


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of the allowed words is close to `word`, else nothing."""
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def describe(value: object) -> str:
    """A value as a message shows it: its kind and its beginning."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _LONG_NUMBER:
        return f"a number of more than {_LONG_NUMBER} bits"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}" if value else "empty text"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    return f"a {type(value).__name__}"


def in_quotes(value: object) -> str:
    """How to turn a number or boolean into the text that was probably meant, as the end of a message."""
    if not isinstance(value, (int, float)) or (isinstance(value, int) and value.bit_length() > _LONG_NUMBER):
        return ""
    return f': write "{describe(value) if isinstance(value, bool) else value}" in quotes'
