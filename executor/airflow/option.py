"""What there is to know of an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["string", "integer", "float", "boolean", "json", "list"]
Stance = Literal["same", "better", "partly", "no effect", "own"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Args:
        key: its name in its section.
        kind: how its text is read; a list is separated by commas.
        default: the text that counts where nothing is set; "" is nothing.
        words: what it does here, in full sentences.
        stance: "same" as the KubernetesExecutor, "better" where it does more, "partly" and "no effect" with the reason
            in `words`.
        since: release of the provider, or of shard-executor, that brought it; None before this executor's oldest.
        example: a value to show.
        least, most: limits of numbers. choices: the allowed texts.
    """

    key: str
    kind: Kind
    default: str
    words: str
    stance: Stance = "same"
    since: str | None = None
    example: str | None = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return " or ".join(repr(choice) for choice in self.choices)
        if self.kind == "boolean":
            return "True or False"
        if self.kind == "json":
            return "a JSON object such as " + (self.example or "{}")
        if self.kind in ("integer", "float"):
            noun = "a whole number" if self.kind == "integer" else "a number"
            if self.least is not None and self.most is not None:
                return f"{noun} from {self.least:g} to {self.most:g}"
            return noun if self.least is None else f"{noun} of at least {self.least:g}"
        return "a text"
