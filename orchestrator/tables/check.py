"""`reskd tables --check`: what is wrong with a sweep's tables, one line a finding."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.spec.expectations import Expect, unmet
from orchestrator.spec.sweep import TableSpec
from orchestrator.tables.table import Table


def findings(
    tables: Sequence[Table],
    specs: Mapping[str, TableSpec],
    files: Mapping[str, str | bytes],
    folder: Path,
    *,
    may_stop: Collection[str] = (),
) -> Iterator[str]:
    """Files in `folder` that are not what would be built, seeds without a value, means outside what is expected.

    ``may_stop``: rows that the sweep lets be stopped early.
    """
    yield from stale(files, folder)
    for table in tables:
        yield from _missing(table, may_stop=may_stop)
        yield from _unexpected(table, specs[table.key])


def stale(files: Mapping[str, str | bytes], folder: Path) -> Iterator[str]:
    """Files that are not there, or not as they would be built."""
    for name, content in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{path}: stale, it was never built; run `reskd tables`"
        # A figure's bytes are matplotlib's; what it is drawn from stands in the tables.
        elif isinstance(content, str) and path.read_bytes() != content.encode():
            yield f"{path}: stale, not what would be built now; run `reskd tables`"


def _missing(table: Table, *, may_stop: Collection[str]) -> Iterator[str]:
    """A row whose columns all lack the same seeds is one finding, not one a column.

    What was stopped early is not missing where the sweep lets it be stopped.
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


def _unexpected(table: Table, spec: TableSpec) -> Iterator[str]:
    for row in table.rows:
        for column in table.columns:
            for expected in _expectations(spec, row, column.key):
                for what in unmet(expected, table.entries[row, column.key], column):
                    yield f"{table.key}: {row}, {column.key}: {what}"


def _expectations(spec: TableSpec, row: str, column: str) -> Iterator[Expect]:
    """The row's own, else what is expected of every row."""
    for name in (row, "row"):
        found = spec.expect.get(name, {}).get(column)
        if found is not None:
            yield found
            return
