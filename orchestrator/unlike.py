"""Where our figures came about in another way than the published ones beside them: protocol, resolution, epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.entries import Column, Entry
from orchestrator.published import PublishedTable
from orchestrator.sweep import Sweep, TableSpec


def unlike_published(
    sweep: Sweep,
    spec: TableSpec,
    paper: PublishedTable | None,
    *,
    columns: Sequence[Column],
    entries: Mapping[tuple[str, str], Entry],
) -> Iterator[str]:
    """A sentence for every difference, with its rows, then one for what is alike; only of comparable columns."""
    unlike: dict[str, dict[str, list[str]]] = {}
    alike: dict[str, None] = {}
    for column in columns:
        if paper is None or column.published is None or not column.is_comparable:
            continue
        for row in spec.rows:
            entry = entries[row, column.key]
            if entry.published is None:
                continue
            differing, same = _compare(sweep, spec, paper, column, entry)
            alike |= dict.fromkeys(f"{column.heading}: {what}" for what in same)
            for what in differing:
                unlike.setdefault(what, {}).setdefault(column.heading, []).append(row)
    for what, rows_of in unlike.items():
        headings_of: dict[tuple[str, ...], list[str]] = {}
        for heading, rows in rows_of.items():
            headings_of.setdefault(tuple(rows), []).append(heading)
        for shared, headings in headings_of.items():
            yield f"Not as published: {what} ({' and '.join(headings)} of {', '.join(shared)})."
    if alike:
        yield f"As published: {'; '.join(alike)}."


def _compare(
    sweep: Sweep, spec: TableSpec, paper: PublishedTable, column: Column, entry: Entry
) -> tuple[list[str], list[str]]:
    """What of one entry differs from its published figure, and what is the same; only what is known of both."""
    assert column.published is not None
    known = paper.conditions_of(spec.published_rows.get(entry.row, entry.row), column.published.name)
    recipe = next(cell.recipe for cell in sweep.cells if cell.row == entry.row)
    pairs: list[tuple[str, object, object]] = [
        ("resolution", f"{recipe.model.resolution} px", _pixels(known.resolution))
    ]
    if entry.protocols:
        pairs.append(("protocol", ", ".join(entry.protocols), known.protocol))
    if column.unit == "%":
        pairs.append(("epochs", recipe.optim.epochs, known.epochs))
    told = [(what, ours, theirs) for what, ours, theirs in pairs if theirs is not None]
    differing = [f"{what} {ours}, published with {theirs}" for what, ours, theirs in told if ours != theirs]
    return differing, [what for what, ours, theirs in told if ours == theirs]


def _pixels(resolution: int | None) -> str | None:
    return None if resolution is None else f"{resolution} px"
