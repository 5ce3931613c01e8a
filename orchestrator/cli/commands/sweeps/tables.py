"""`reskd tables`: rebuilds or checks the tables of sweeps."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweeps, say_taken
from orchestrator.cli.options import AsJson, Changes, StoreFolder, SweepFiles, TrackingUri
from reskd.errors import BadInput


def tables(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
    source: Annotated[str, typer.Option("--from", help="Read the numbers from mlflow or from the store.")] = "mlflow",
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing. Exit 1 if a table is stale, lacks a value, or is not as expected."
        ),
    ] = False,
    links: Annotated[
        str | None,
        typer.Option(
            "--links", metavar="URL", help="Address of `reskd ui`, for links from cells to their MLflow runs."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild the tables from the MLflow runs or from the store. Several sweeps also get joint tables."""
    from orchestrator.experiment.build_tables import rebuild

    if source not in ("mlflow", "store"):
        raise BadInput(f"--from: {source!r} is neither mlflow nor store")
    if source == "mlflow" and not as_json:
        say_taken(store=store, tracking_uri=tracking_uri)
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
