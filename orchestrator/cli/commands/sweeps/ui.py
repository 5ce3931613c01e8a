"""`reskd ui`: starts MLflow's web interface on the store's database."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import StoreFolder


def ui(
    store: StoreFolder = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Start MLflow's web interface on the store's database, and print its address."""
    from orchestrator.tracking.ui import serve

    raise typer.Exit(serve(open_store(store), port=port, console=console))
