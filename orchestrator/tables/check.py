"""`reskd tables --check`: finds what is wrong with a sweep's tables, one line per finding."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.spec.columns import quantity_of
from orchestrator.spec.expectations import Expect
from orchestrator.spec.sweep import TableSpec
from orchestrator.stats.estimates import number_text
from orchestrator.tables.table import Column, Entry, Table


def findings(
    tables: Sequence[Table],
    specs: Mapping[str, TableSpec],
    files: Mapping[str, str | bytes],
    folder: Path,
    *,
    asked: Mapping[str, str],
    may_stop: Collection[str] = (),
) -> Iterator[str]:
    """Files in `folder` that are out of date, seeds without a value, values by another protocol than the sweep's, and
    means that are not as expected.

    ``asked``: row -> name of the protocol that the sweep asks for. ``may_stop``: rows that the sweep may stop early.
    """
    yield from stale(files, folder)
    for table in tables:
        yield from _missing(table, may_stop=may_stop)
        yield from _unasked(table, asked)
        yield from _unexpected(table, specs[table.key])


def stale(files: Mapping[str, str | bytes], folder: Path) -> Iterator[str]:
    """Files that are missing or not equal to what would be built now."""
    for name, content in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{path}: stale, it was never built; run `reskd tables`"
        # Figures are not compared: their bytes depend on matplotlib, and their numbers are in the tables.
        elif isinstance(content, str) and path.read_bytes() != content.encode():
            yield f"{path}: stale, it differs from what would be built now; run `reskd tables`"


def _missing(table: Table, *, may_stop: Collection[str]) -> Iterator[str]:
    """Seeds without a value. If all columns of a row lack the same seeds, this is one finding.

    Steps that early stopping ended are not missing, if the sweep allows it.
    """
    for row in table.rows:
        gaps: dict[str, list[str]] = {}
        for column in table.columns:
            states = table.entries[row, column.key].seed_states
            is_well = ("done", "pruned") if row in may_stop else ("done",)
            lacking = [f"seed {seed} {state}" for seed, state in states if state not in is_well]
            if lacking:
                gaps.setdefault(", ".join(lacking), []).append(column.key)
        for what, columns in gaps.items():
            yield f"{table.key}: {row}, {', '.join(columns)}: missing, {what}"


def _unasked(table: Table, asked: Mapping[str, str]) -> Iterator[str]:
    """Values by another protocol than the sweep asks for, such as after a change of eval.views; or by several.

    Costs go with the tests of their step, so only accuracies are named. A column that names a protocol asks for that
    one. If all columns of a row have the same, this is one finding.
    """
    for row in table.rows:
        found: dict[str, list[str]] = {}
        for column in table.columns:
            protocols = table.entries[row, column.key].protocols
            if quantity_of(column.key).is_test and column.protocol is None and not {*protocols} <= {asked[row]}:
                found.setdefault(" and ".join(protocols), []).append(column.key)
        for names, columns in found.items():
            yield (
                f"{table.key}: {row}, {', '.join(columns)}: by the protocol {names}, but the sweep asks for "
                f"{asked[row]}; test it so with `reskd eval`, for a column test/{asked[row]}/<metric>"
            )


def _unexpected(table: Table, spec: TableSpec) -> Iterator[str]:
    for row in table.rows:
        for column in table.columns:
            for expected in _expectations(spec, row, column.key):
                for what in unmet(expected, table.entries[row, column.key], column):
                    yield f"{table.key}: {row}, {column.key}: {what}"


def _expectations(spec: TableSpec, row: str, column: str) -> Iterator[Expect]:
    """The row's own expectations, else those for every row."""
    for name in (row, "row"):
        found = spec.expect.get(name, {}).get(column)
        if found is not None:
            yield found
            return


def unmet(expected: Expect, entry: Entry, column: Column) -> Iterator[str]:
    """A sentence for each expectation that does not hold; empty if nothing is measured."""
    unit = column.unit
    mean, delta = entry.estimate.mean, entry.delta.mean if entry.delta else None
    if mean is not None:
        yield from _outside(mean, low=expected.low, high=expected.high, what="mean", unit=unit)
    if delta is not None:
        what = f"difference to {column.delta_to}"
        yield from _outside(delta, low=expected.delta_low, high=expected.delta_high, what=what, unit=unit)
    if not expected.is_about_published or mean is None or entry.published is None:
        return
    if not column.is_comparable:
        yield f"expected near the published figure, which does not compare ({column.published_heading})"
        return
    for most, words in (
        (expected.within, f"{expected.within} {unit}"),
        ((expected.within_percent or 0) / 100 * entry.published, f"{expected.within_percent} % of it"),
    ):
        far = abs(mean - entry.published)
        if most and far > most:
            shown = number_text(mean, unit=unit), entry.published_text, number_text(far, unit=unit)
            yield f"mean {shown[0]} is {shown[2]} from the published {shown[1]}; at most {words} is expected"


def _outside(value: float, *, low: float | None, high: float | None, what: str, unit: str) -> Iterator[str]:
    if low is not None and value < low:
        yield f"{what} {number_text(value, unit=unit)} is below {low:g}, the least that is expected"
    if high is not None and value > high:
        yield f"{what} {number_text(value, unit=unit)} is above {high:g}, the most that is expected"
