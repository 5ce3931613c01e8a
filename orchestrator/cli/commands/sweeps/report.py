"""`reskd report`: writes a sweep's page, to read or to send to a colleague."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweeps
from orchestrator.cli.options import Changes, StoreFolder, SweepFiles, TrackingUri


def report(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
    source: Annotated[str, typer.Option("--from", help="Read the numbers from the store or from mlflow.")] = "store",
) -> None:
    """Write one HTML page about a sweep, which needs no other file: answer, tables, charts, timeline, cost, failures,
    and how to reproduce it.

    It can be written at any time; what is not finished yet says so. With --from mlflow, table cells have links to their
    runs, and MLflow gets the page too.
    """
    from orchestrator.experiment.report_page import report_sweep

    for one in open_sweeps(sweep, changes, open_store(store)):
        path = report_sweep(one, source=source, tracking_uri=tracking_uri)
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
