"""Returns a sweep's results as a DataFrame, from its sweep file and from the store or MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.store.imported_speeds import read_bench
from orchestrator.store.open import store_at
from orchestrator.store.step_record import records_from_store
from orchestrator.tables.published import load_published
from orchestrator.tables.results import results_frame
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.tables.results import DataFrame


def results(
    sweep: str | Path, *, source: str = "store", store: str | Path | None = None, tracking_uri: str | None = None
) -> DataFrame:
    """The results of a sweep file: a pandas DataFrame with a row for each cell and metric.

    Columns: sweep, row, seed, step_id, state, metric, value, unit, protocol, num_clips, device, published,
    published_heading. A cell that is not done has rows without a value, and ``state`` says why: missing, running,
    failed, pruned (stopped early), interrupted, teacher failed, or stale (MLflow has it of another recipe).

    source: "store", or "mlflow" for what is published there. store: as ``--store`` takes it; None: the default one.
    Raises BadInput for a file or a place that is wrong.
    """
    return results_of(prepare(Path(sweep), store=store_at(store)), source=source, tracking_uri=tracking_uri)


def results_of(prepared: Prepared, *, source: str, tracking_uri: str | None) -> DataFrame:
    """The same for a sweep that is already bound to its store."""
    if source == "store":
        records = records_from_store(prepared.store, prepared.steps)
    elif source == "mlflow":
        from orchestrator.tracking.publish import Publisher  # MLflow, which the store can do without

        publisher = Publisher(prepared.store, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
        records = publisher.records()
    else:
        raise BadInput(f"source: {source!r} is neither mlflow nor store")
    return results_frame(
        prepared.sweep,
        steps=prepared.steps,
        records=records,
        published=load_published(),
        bench=read_bench(prepared.store),
    )
