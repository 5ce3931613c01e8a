"""Joins the tables of several sweeps side by side, as in the paper's Table 1, which has three data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.stats.estimates import Estimate
from orchestrator.tables.table import Entry, Table


def join_tables(groups: Sequence[Sequence[Table]]) -> list[Table]:
    """Join the tables whose key two or more sweeps have, in the order of the first sweep."""
    keys = dict.fromkeys(table.key for tables in groups for table in tables)
    found = {key: [table for tables in groups for table in tables if table.key == key] for key in keys}
    return [join(tables) for tables in found.values() if len(tables) > 1]


def join(tables: Sequence[Table]) -> Table:
    """Join tables. Rows of the same name become one row; column names get the data set, or the sweep if that
    repeats."""
    names = [table.data for table in tables]
    if not all(names) or len(set(names)) < len(names):
        names = [table.sweep for table in tables]
    rows = tuple(dict.fromkeys(row for table in tables for row in table.rows))
    # A peer of one sweep may be a row of another.
    peers = tuple(dict.fromkeys(row for table in tables for row in table.peers if row not in rows))
    columns, entries = [], {}
    for name, table in zip(names, tables, strict=True):
        for column in table.columns:
            joined = replace(
                column,
                key=f"{name}: {column.key}",
                heading=f"{name}: {column.heading}",
                published_heading=column.published_heading and f"{name}: {column.published_heading}",
            )
            columns.append(joined)
            for row in (*peers, *rows):
                entry = table.entries.get((row, column.key)) or _not_asked(row, column.unit)
                entries[row, joined.key] = replace(entry, column=joined.key)
    return Table(
        key=tables[0].key,
        title=tables[0].title,
        sweep="+".join(dict.fromkeys(table.sweep for table in tables)),
        question=" ".join(dict.fromkeys(table.question for table in tables)),
        head=_head(names, tables),
        columns=tuple(columns),
        rows=rows,
        entries=entries,
        peers=peers,
    )


def _head(names: Sequence[str], tables: Sequence[Table]) -> tuple[str, ...]:
    """Sentences that all tables share, once; then the others, each with its table's name."""
    shared = set.intersection(*(set(table.head) for table in tables))
    own = [
        f"{name}: {sentence}"
        for name, table in zip(names, tables, strict=True)
        for sentence in table.head
        if sentence not in shared
    ]
    return (*(sentence for sentence in tables[0].head if sentence in shared), *own)


def _not_asked(row: str, unit: str) -> Entry:
    return Entry(row=row, column="", unit=unit, estimate=Estimate(()), seed_states=(), step_ids=(), kind="not asked")
