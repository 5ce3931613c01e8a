"""`reskd tables`: the sweeps' tables, rebuilt or checked."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweeps
from orchestrator.cli.options import AsJson, Changes, StoreFolder, SweepFiles, TrackingUri
from reskd.errors import BadInput


def tables(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
    source: Annotated[str, typer.Option("--from", help="mlflow or store: where the numbers come from.")] = "mlflow",
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 when one is stale, lacks a cell, or is not as expected."),
    ] = False,
    links: Annotated[
        str | None,
        typer.Option("--links", metavar="URL", help="Where `reskd ui` will be, for the cells' links to their runs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild the tables from their MLflow runs, or from the store; of several sweeps also those that they share."""
    from orchestrator.experiment.build_tables import rebuild

    if source not in ("mlflow", "store"):
        raise BadInput(f"--from: {source!r} is neither mlflow nor store")
    prepared = open_sweeps(sweep, changes, open_store(store))
    code = rebuild(
        prepared,
        source="store" if source == "store" else "mlflow",
        tracking_uri=tracking_uri,
        links=links,
        check=check,
        as_json=as_json,
        console=console,
    )
    raise typer.Exit(code)
