"""A sweep's tables from the records of its steps, in MLflow or in the store."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.spec.sweep import TableSpec
from orchestrator.store.imported_speeds import read_bench
from orchestrator.store.step_record import StepRecord
from orchestrator.tables.build import build_table
from orchestrator.tables.published import load_published
from orchestrator.tables.table import Table


def sweep_tables(
    prepared: Prepared, records: Mapping[str, StepRecord], specs: Mapping[str, TableSpec] | None = None
) -> list[Table]:
    """The tables that the sweep asks for, or those of ``specs``, without further figures."""
    published, bench = load_published(), read_bench(prepared.store)
    waiting = waiting_steps(prepared, records)
    return [
        build_table(
            key,
            spec,
            sweep=prepared.sweep,
            steps=prepared.steps,
            records=records,
            published=published,
            look=prepared.look,
            bench=bench,
            waiting=waiting,
        )
        for key, spec in (prepared.sweep.tables if specs is None else specs).items()
    ]


def waiting_steps(prepared: Prepared, records: Mapping[str, StepRecord]) -> set[str]:
    """Steps without a record that a run holds: it will train them."""
    return {
        step_id for step_id in prepared.steps if step_id not in records and prepared.store.lease(step_id) is not None
    }
