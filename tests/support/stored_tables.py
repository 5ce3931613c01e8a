"""The table of a stored sweep, with the accuracies that its finished steps have."""

from __future__ import annotations

from orchestrator.tables.build import Table, build_table, records_from_store
from orchestrator.tables.published import load_published
from tests.support.stored_sweep import StoredSweep

VALUES = {
    "baseline": (0.80, 0.82, 0.78),
    "clip-level KL": (0.81, 0.85, 0.83),
    "pixel-level MSE": (0.94, 0.99, 0.98),
}
FILES = ["table5.md", "table5.csv", "table5.tex", "table5.html"]


def table_of(stored: StoredSweep, records=None, key: str = "table5") -> Table:
    records = records_from_store(stored.store, stored.steps) if records is None else records
    return build_table(
        key,
        stored.sweep.tables[key],
        sweep=stored.sweep,
        steps=stored.steps,
        records=records,
        published=load_published(),
    )


def finish_all(stored: StoredSweep) -> None:
    for row, values in VALUES.items():
        for seed, value in zip(stored.sweep.seeds, values, strict=False):
            stored.finish(stored.id_of(row, seed), value)
