"""`reskd watch`: shows a run of another shell, until it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.options import StoreFolder
from reskd.errors import BadInput


def watch(
    sweep: Annotated[Path | None, typer.Argument(help="A sweep file: show its run. Default: the newest run.")] = None,
    store: StoreFolder = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="A Ray dashboard, http://host:8265. Look into the store of that cluster's job."),
    ] = None,
) -> None:
    """Show a run that another shell or machine has started, until it ends.

    What is shown is read from the store; Ctrl-C ends the display only. Where the output is not a terminal, the present
    state is printed once.
    """
    from orchestrator.run.display.board import snapshot
    from orchestrator.run.display.board import watch as watch_run
    from orchestrator.store.open import existing_store
    from orchestrator.store.run_records import RunRecords

    if sweep is not None and not sweep.is_file():
        raise BadInput(f"{sweep}: no such sweep file")
    if address is not None and store is None:
        store = _store_on(address, sweep)
    found = existing_store(store)
    records = RunRecords(found)
    runs = records.living(file=sweep.stem if sweep else None)
    if not runs:
        console.print(f"no run{f' of {sweep}' if sweep else ''} lives in {found.address}", soft_wrap=True)
        return
    run, *others = runs
    for other in others:
        console.print(f"another run lives here: {other.sweep} ({other.process})", soft_wrap=True)
    if not console.is_terminal:
        snapshot(records, run, console)
        return
    try:
        words = watch_run(records, run, console)
    except KeyboardInterrupt:
        words = f"the run goes on ({run.process})"
    console.print(words, soft_wrap=True)


def _store_on(address: str, sweep: Path | None) -> str:
    """The store of a cluster's newest running job. Raises BadInput if it cannot be seen from here."""
    from orchestrator.run.cluster import submit as cluster
    from orchestrator.store.open import is_bucket

    jobs = cluster.jobs(cluster.connect(address))
    running = [job for job in jobs if job.status == "RUNNING" and (sweep is None or job.is_of(sweep.name))]
    if not running:
        of_sweep = f" of {sweep.name}" if sweep else ""
        raise BadInput(f"--address {address}: no job{of_sweep} runs there; see `reskd status --address {address}`")
    job = running[0]
    logs = f"or follow its log: `reskd logs {job.id} --address {address}`"
    if job.store is None:
        raise BadInput(f"job {job.id}: its command names no store; give the store's address with --store, {logs}")
    if not is_bucket(job.store) and not Path(job.store).is_dir():
        raise BadInput(
            f"job {job.id}: its store {job.store} is no folder of this machine; mount it here and name it with "
            f"--store, type `reskd watch` on a machine of the cluster, {logs}"
        )
    return job.store
