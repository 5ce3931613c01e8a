"""`reskd status`: shows the state of a sweep's steps, or the jobs of a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.commands.cluster.shared import show_jobs
from orchestrator.cli.commands.steps.ls import ls
from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweep
from orchestrator.cli.options import AsJson, Changes, StoreFolder
from reskd.errors import BadInput


def status(
    sweep: Annotated[Path | None, typer.Argument(help="A sweep file, such as sweeps/demo.yaml.")] = None,
    changes: Changes = None,
    store: StoreFolder = None,
    address: Annotated[
        str | None, typer.Option("--address", help="A Ray dashboard, http://host:8265. Show that cluster's jobs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show each step's state: epochs, last metrics, which run trains it, damaged clips, why it failed.

    Without a sweep file, list every step of the store, as `reskd ls` does. With --address, show the submitted jobs of a
    cluster instead: all jobs, or those of the given sweep.
    """
    if address is not None:
        show_jobs(address, sweep=sweep.name if sweep else None, as_json=as_json)
        return
    if sweep is None:
        if changes:
            raise BadInput("status: --set changes a sweep file; name one")
        ls(store, as_json)
        return
    from orchestrator.cli.show_status import show_status, status_rows

    prepared = open_sweep(sweep, changes, open_store(store))
    if as_json:
        print(json.dumps(status_rows(prepared), indent=1))
    else:
        show_status(prepared, console)
