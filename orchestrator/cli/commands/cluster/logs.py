"""`reskd logs`: shows and follows the log of a run on this machine, or of a cluster's job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.commands.cluster.shared import ADDRESS_VARIABLE, follow, say
from orchestrator.cli.options import StoreFolder
from reskd.errors import BadInput


def logs(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOB|SWEEP]",
            help="The id of a cluster's job (`submit` prints it), or a sweep file. Default: the newest run here.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help=f"Of a cluster's job: Ray's dashboard. Default: ${ADDRESS_VARIABLE}."),
    ] = None,
    store: StoreFolder = None,
) -> None:
    """Show a log from its beginning and follow it until the run ends. Ctrl-C leaves the run running.

    Without a job's id, it is the newest log of `reskd run` on this machine, of any sweep or of the given one. It holds
    what Ray and the workers print.
    """
    is_sweep = what is not None and (what.endswith((".yaml", ".yml")) or Path(what).is_file())
    if what is None or is_sweep:
        if address is not None:
            raise BadInput("logs: --address needs the id of a job; `reskd status --address URL` lists them")
        _show_local(Path(what) if what else None, store)
        return
    address = address or os.environ.get(ADDRESS_VARIABLE)
    if address is None:
        raise BadInput(
            f"logs {what}: no sweep file; if it is a cluster's job, name the cluster with --address "
            f"or {ADDRESS_VARIABLE}"
        )
    raise typer.Exit(follow(what, address))


def _show_local(sweep: Path | None, named: str | None) -> None:
    from orchestrator.run.local_logs import follow_log, newest_log
    from orchestrator.store.lease import StallWatch
    from orchestrator.store.open import existing_store
    from orchestrator.store.run_records import RunRecords

    store = existing_store(named)
    path = newest_log(store, file=sweep.stem if sweep else None)
    if path is None:
        of_sweep = f" of {sweep}" if sweep else ""
        raise BadInput(f"no run{of_sweep} on this machine has left a log for {store.address} in {store.home / 'logs'}")
    records, watch = RunRecords(store), StallWatch()

    def goes_on() -> bool:
        runs = [run for run in map(records.run, records.run_ids()) if run is not None and run.log == str(path)]
        return any(records.lives(run, watch) for run in runs)

    say(f"{path}:")
    try:
        follow_log(path, write=lambda text: print(text, end="", flush=True), goes_on=goes_on)
    except KeyboardInterrupt:
        say("\nthe run goes on without this terminal; stop it with Ctrl-C in its own")
