"""Results on a terminal: the columns and the part of a row's name that fit."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.tables.columns import OF_OTHERS, PUBLISHED

if TYPE_CHECKING:
    from orchestrator.tables.results import DataFrame

SHOWN = ("row", "seed", "metric", "value", "unit", "state", "published")
"""The last ones are left out where the terminal is too narrow for all."""
NEEDED = 4
"""How many of them are always shown."""
NUMBERS = ("seed", "value", "published")
SHORT_NAME = 20
"""Columns are left out until a row's name has this many letters of room."""
GAP = "  "


def result_lines(frame: DataFrame, *, width: int) -> Iterator[str]:
    """The headings and each result, lines of at most ``width`` letters; below them what was left out."""
    texts = {name: [name, *map(_text, frame[name])] for name in SHOWN}
    headings = map(_text, frame["published_heading"])
    texts["published"][1:] = [_of_what(*pair) for pair in zip(texts["published"][1:], headings, strict=True)]
    widths = {name: max(map(len, column)) for name, column in texts.items()}
    names, longest = list(SHOWN), widths["row"]
    while len(names) > NEEDED and _total(names, {**widths, "row": min(longest, SHORT_NAME)}) > width:
        names.pop()
    widths["row"] = max(1, min(longest, width - _total(names, {**widths, "row": 0})))
    for line in zip(*(texts[name] for name in names), strict=True):
        cells = zip(names, line, strict=True)
        yield GAP.join(_cell(text, widths[name], is_number=name in NUMBERS) for name, text in cells).rstrip()
    left_out = [name for name in SHOWN if name not in names]
    left_out += ["ends of row names"] if widths["row"] < longest else []
    if left_out:
        yield from textwrap.wrap(f"left out: {', '.join(left_out)}; --csv FILE has everything", width)


def _total(names: list[str], widths: dict[str, int]) -> int:
    return sum(widths[name] for name in names) + len(GAP) * (len(names) - 1)


def _cell(text: str, width: int, *, is_number: bool) -> str:
    cut = text if len(text) <= width else f"{text[: width - 1]}…"
    return cut.rjust(width) if is_number else cut.ljust(width)


def _of_what(figure: str, heading: str) -> str:
    """A published figure; one of another data set or metric has its name."""
    return f"{figure} ({heading.removesuffix(OF_OTHERS)})" if figure and heading != PUBLISHED else figure


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"  # not a number: there is none
    return str(value)
