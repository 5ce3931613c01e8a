"""Says how our figures were obtained in another way than the published ones: network, protocol and so on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.spec.columns import quantity_of
from orchestrator.spec.sweep import Sweep, TableSpec
from orchestrator.tables.published import PublishedTable
from orchestrator.tables.table import Column, Entry
from reskd.protocol import parse_protocol


def unlike_published(
    sweep: Sweep,
    spec: TableSpec,
    paper: PublishedTable | None,
    *,
    columns: Sequence[Column],
    entries: Mapping[tuple[str, str], Entry],
) -> Iterator[str]:
    """A sentence for every difference, with its rows, then one about what is equal. Only comparable columns count."""
    unlike: dict[str, dict[str, list[str]]] = {}
    alike: dict[str, dict[str, None]] = {}
    for column in columns:
        if paper is None or column.published is None or not column.is_comparable:
            continue
        for row in spec.rows:
            entry = entries[row, column.key]
            if entry.published is None:
                continue
            differing, same = _compare(sweep, spec, paper, column, entry)
            alike.setdefault(column.heading, {}).update(dict.fromkeys(same))
            for what in differing:
                unlike.setdefault(what, {}).setdefault(column.heading, []).append(row)
    for what, rows_of in unlike.items():
        headings_of: dict[tuple[str, ...], list[str]] = {}
        for heading, rows in rows_of.items():
            headings_of.setdefault(tuple(rows), []).append(heading)
        for shared, headings in headings_of.items():
            yield f"Not as published: {what} ({' and '.join(headings)} of {', '.join(shared)})."
    # Facts that are equal for some rows only are not listed here; the sentences above name the other rows.
    odd = {(heading, what.split()[0]) for what, rows_of in unlike.items() for heading in rows_of}
    kept = {heading: [what for what in same if (heading, what) not in odd] for heading, same in alike.items()}
    shown = [f"{heading}: {', '.join(same)}" for heading, same in kept.items() if same]
    if shown:
        yield f"As published: {'; '.join(shown)}."


def _compare(
    sweep: Sweep, spec: TableSpec, paper: PublishedTable, column: Column, entry: Entry
) -> tuple[list[str], list[str]]:
    """What differs between one entry and its published figure, and what is equal.

    Only facts that are known of both count.
    """
    assert column.published is not None
    beside = spec.published_rows.get(entry.row, entry.row)
    known = paper.conditions_of(beside, column.published.name)
    recipe = next(cell.recipe for cell in sweep.cells if cell.row == entry.row)
    data = recipe.data
    names = entry.protocols or (column.protocol or recipe.test_protocol.name,)
    whole = [parse_protocol(name).with_sizes(short_side=data.short_side, crop_size=data.crop_size) for name in names]
    ours = ", ".join(protocol.name for protocol in whole)
    pairs: list[tuple[str, object, object]] = [
        ("network", recipe.model.name, _network(paper, beside, data=column.published.data)),
        ("resolution", f"{recipe.model.resolution} px", _pixels(known.resolution)),
    ]
    quantity = quantity_of(column.key)
    if quantity.depends_on_protocol:
        pairs.append(("protocol", ours, known.protocol))
    if quantity.is_test and not recipe.is_imported:
        pairs.append(("epochs", recipe.optim.epochs, known.epochs))
        pairs.append(("resampling", data.resample, known.resample))
    told = [(what, ours, theirs) for what, ours, theirs in pairs if theirs is not None]
    differing = [f"{what} {ours}, published with {theirs}" for what, ours, theirs in told if ours != theirs]
    return differing, [what for what, ours, theirs in told if ours == theirs]


def _network(paper: PublishedTable, row: str, *, data: str) -> str | None:
    """The name that a published row's network has in the cost columns of a data set."""
    data_of = {column.name: column.data for column in paper.columns}
    found = (network.model for name, network in paper.networks.get(row, {}).items() if data_of[name] == data)
    return next(found, None)


def _pixels(resolution: int | None) -> str | None:
    return None if resolution is None else f"{resolution} px"
