"""Keeps the tables of docs/airflow-options.md as executor/airflow/option_table.py has them.

    python docs/option_tables.py          writes them into the page

A test compares the two. Between a line `<!-- options of SECTION -->` and the next `<!-- end -->` stands one table.
"""

from __future__ import annotations

import re
from pathlib import Path

from shard_executor.airflow.option_table import OWN, OWN_OPTIONS, STOCK, STOCK_OPTIONS, Option, Stance

PAGE = Path(__file__).with_name("airflow-options.md")
_PLACE = re.compile(r"(<!-- options of (?P<section>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_STANCES: dict[Stance, str] = {
    "same": "the same",
    "better": "more",
    "partly": "partly",
    "no effect": "no effect",
    "own": "",
}


def tables() -> dict[str, str]:
    """The Markdown table of each section."""
    return {STOCK: _table(STOCK_OPTIONS, compared=True), OWN: _table(OWN_OPTIONS, compared=False)}


def filled(text: str) -> str:
    """A page's text with its tables as they should be."""
    known = tables()
    return _PLACE.sub(lambda match: f"{match[1]}{known[match['section']]}{match[3]}", text)


def _table(options: tuple[Option, ...], *, compared: bool) -> str:
    heads = ["option", "default", *(["here"] if compared else ["allowed"]), "what it does"]
    lines = [heads, ["---"] * len(heads)]
    for option in options:
        column = _STANCES[option.stance] if compared else option.allowed
        lines.append([f"`{option.key}`", _default(option), column, option.words])
    return "".join("| " + " | ".join(cells).replace("\n", " ") + " |\n" for cells in lines)


def _default(option: Option) -> str:
    # A list without a space after its commas would be one word, wider than the page.
    return f"`{option.default}`".replace(",", "`, `") if option.default else "none"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
