"""Writes tables as files: Markdown to read, CSV to compute with, and figures. Equal tables give equal bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rich.box
import rich.console
import rich.table
from rich.text import Text

from orchestrator.stats.estimates import Estimate
from orchestrator.tables.cost_plot import draw
from orchestrator.tables.latex_html import table_html, table_tex
from orchestrator.tables.table import Column, Entry, Figure, Table
from reskd.files import write_atomic
from reskd.text import plain_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

PLOT_STEM = "accuracy_vs_gmacs"
PLOT_TITLE = "Accuracy against cost"
FORMATS = ("png", "svg", "pdf")
"""Endings of a figure's files: one to look at, two for papers."""
NO_DATES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Metadata that would differ from run to run or from version to version."""
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "reskd", "pdf.fonttype": 42, "text.parse_math": False}
"""Equal ids in equal figures; fonts that publishers accept; `$` in a row's name is a plain letter."""
INDEX_FILE = "report.md"
ENTRY_FIELDS = tuple(field.name for field in fields(Entry))
MAX_NAME_WIDTH = 32
"""Widest row name on a terminal, in columns; longer ones wrap."""


def write_report(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write the report's files, and return their paths."""
    files = report_files(tables)
    for name, content in files.items():
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def report_files(tables: Sequence[Table]) -> dict[str, str | bytes]:
    """<key>.md, .csv, .tex and .html of each table, the figures, and report.md with all of it."""
    files: dict[str, str | bytes] = {}
    if not tables:
        return files
    for table in tables:
        words = [f"# {plain_markdown(table.title)}", plain_markdown(table.question), table_markdown(table)]
        files[f"{table.key}.md"] = "\n\n".join(words)
        files[f"{table.key}.csv"] = table_csv(table)
        files[f"{table.key}.tex"] = table_tex(table)
        files[f"{table.key}.html"] = table_html(table)
    plot = next((table.plot for table in tables if table.plot and table.plot.points), None)
    figures = [figure for table in tables for figure in table.figures]
    if plot:
        figures.append(Figure(stem=PLOT_STEM, title=PLOT_TITLE, draw=partial(draw, plot)))
    for figure in figures:
        files |= figure_files(figure)
    files[INDEX_FILE] = _index(tables, has_plot=plot is not None)
    return files


def figure_files(figure: Figure, *, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """<stem>.png, .svg and .pdf of a figure."""
    drawn = draw_plainly(figure.draw)
    return {f"{figure.stem}.{kind}": figure_bytes(drawn, kind) for kind in formats}


def draw_plainly(draw: Callable[[], Drawn]) -> Drawn:
    """The figure in matplotlib's own style, whatever a user's matplotlibrc says."""
    from matplotlib import rc_context, style

    with style.context("default"), rc_context(SETTINGS):
        return draw()


def figure_bytes(drawn: Drawn, kind: str, *, settings: Mapping[Any, Any] | None = None) -> bytes:
    """A figure as a file of this kind; equal figures give equal bytes. settings: further rcParams."""
    from matplotlib import rc_context, style

    file = io.BytesIO()
    with style.context("default"), rc_context({**SETTINGS, **(settings or {})}):
        drawn.savefig(file, format=kind, metadata=NO_DATES[kind])
    return file.getvalue()


def table_markdown(table: Table) -> str:
    """The sentences about the numbers as a list, then the table."""
    head = "".join(f"- {plain_markdown(sentence)}\n" for sentence in table.head)
    rule = ["---", *["---:"] * (len(table.headings) - 1)]  # numbers to the right
    lines = [list(map(plain_markdown, table.headings)), rule]
    for row in table.all_rows:
        cells = zip(map(plain_markdown, table.cells(row)), table.links(row), strict=True)
        lines.append([text + _links(pages) for text, pages in cells])
    return f"{head}\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def table_csv(table: Table) -> str:
    """One line per entry with every number, unrounded. Several values in a field are separated by `;`."""
    lines = [
        _csv_line(table.key, column, table.entries[row, column.key])
        for row in table.all_rows
        for column in table.columns
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def table_dict(table: Table) -> dict[str, Any]:
    """Plain values for --json: the sentences above the table, and every entry with unrounded numbers."""
    entries = [table.entries[row, column.key] for row in table.all_rows for column in table.columns]
    return {
        "key": table.key,
        "title": table.title,
        "sweep": table.sweep,
        "question": table.question,
        "head": list(table.head),
        "columns": [asdict(column) for column in table.columns],
        "rows": list(table.rows),
        "peers": list(table.peers),
        "entries": [_plain(entry) for entry in entries],
    }


def _plain(entry: Entry) -> dict[str, Any]:
    """Like asdict, but without copying every value, which is slow for a table of thousands of entries."""
    values = {name: getattr(entry, name) for name in ENTRY_FIELDS}
    estimates = {name: asdict(value) for name in ("estimate", "delta") if (value := values[name]) is not None}
    return {**values, **estimates, "state": entry.state, "text": entry.text}


def render(table: Table) -> rich.console.RenderableType:
    """The table for a terminal, with its sentences below. If it is narrow, headings wrap before row names do."""
    shown = rich.table.Table(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    are_names_short = max(map(len, table.all_rows)) <= MAX_NAME_WIDTH
    for index, heading in enumerate(table.headings):
        justify: Literal["left", "right"] = "right" if index else "left"
        shown.add_column(Text(heading), justify=justify, overflow="fold", no_wrap=not index and are_names_short)
    for row in table.all_rows:
        style = "dim" if row in table.peers else ""
        shown.add_row(*(Text(cell, style=style) for cell in table.cells(row)), end_section=row in table.peers[-1:])
    # Not the table's caption, which would be as narrow as the table.
    return rich.console.Group(shown, Text("\n".join([*table.head, ""])))


def _index(tables: Sequence[Table], *, has_plot: bool) -> str:
    # The question first: MLflow shows only the heading of a collapsed description.
    parts = [f"# {plain_markdown(tables[0].question)}", f"Sweep `{plain_markdown(tables[0].sweep)}`"]
    for table in tables:
        evidence = f"Every number with its runs: [{table.key}.csv]({table.key}.csv)"
        parts += [f"## {plain_markdown(table.title)}", table_markdown(table).rstrip("\n"), evidence]
        for figure in table.figures:
            title = plain_markdown(figure.title)
            parts += [f"### {title}", f"![{title}]({figure.stem}.png)"]
    if has_plot:
        parts += [f"## {PLOT_TITLE}", f"![accuracy against GMACs]({PLOT_STEM}.png)"]
    return "\n\n".join(parts) + "\n"


def _links(pages: Iterable[tuple[str, str]]) -> str:
    shown = " ".join(f"[{seed}]({url})" for seed, url in pages)
    return f" (runs {shown})" if shown else ""


def _csv_line(key: str, column: Column, entry: Entry) -> dict[str, object]:
    published = column.published if entry.published is not None else None
    return {
        "table": key,
        "row": entry.row,
        "column": entry.column,
        "unit": entry.unit,
        "state": entry.state,
        "num_seeds": entry.num_seeds,
        **_numbers(entry.estimate, prefix=""),
        "delta_to": column.delta_to or "",
        **_numbers(entry.delta or Estimate(()), prefix="delta_"),
        "delta_confidence": _number(entry.delta.confidence) if entry.delta else "",
        "published": _number(entry.published),
        "published_column": published.name if published else "",
        "published_data": published.data if published else "",
        "is_comparable": str(column.is_comparable).lower() if published else "",
        "protocol": _joined(entry.protocols),
        "device": _joined(entry.devices),
        "seed_states": _joined(f"{seed} {state}" for seed, state in entry.seed_states),
        "step_ids": _joined(entry.step_ids),
        "notes": _joined(entry.notes),
    }


def _numbers(estimate: Estimate, *, prefix: str) -> dict[str, object]:
    return {
        f"{prefix}n": estimate.n,
        f"{prefix}seeds": _joined(seed for seed, _ in estimate.by_seed),
        f"{prefix}values": _joined(estimate.values),
        f"{prefix}mean": _number(estimate.mean),
        f"{prefix}half_width": _number(estimate.half_width),
    }


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _joined(values: Iterable[object]) -> str:
    return ";".join(str(value) for value in values)
