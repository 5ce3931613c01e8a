"""`reskd submit | logs | cancel`, `status --address`: sweeps on a cluster, from wherever its dashboard is reachable."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from orchestrator.cli.options import Changes, SweepFiles, TrackingUri, console
from reskd.errors import BadInput

Address = Annotated[
    str, typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="Ray's dashboard: http://host:8265.")
]
JobId = Annotated[str, typer.Argument(help="The id that `submit` printed; `status --address` lists them.")]


def add_cluster_commands(app: typer.Typer) -> None:
    at = "--address http://localhost:8265"
    app.command(epilog=f"Example: reskd submit sweeps/demo.yaml --store /shared/reskd {at}")(submit)
    app.command(epilog=f"Example: reskd logs raysubmit_1234 {at}")(logs)
    app.command(epilog=f"Example: reskd cancel raysubmit_1234 {at}")(cancel)


def submit(
    sweep: SweepFiles,
    address: Address,
    changes: Changes = None,
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="RESKD_STORE", help="A folder that all machines share, or s3://bucket/prefix."),
    ] = None,
    tracking_uri: TrackingUri = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and come back at once.")] = False,
) -> None:
    """Run sweeps on a cluster, several in one schedule, and follow the log. Ctrl-C leaves the job running; the exit
    code is the job's own.
    """
    from orchestrator.run import submit as cluster

    job = cluster.submit(
        sweep,
        address=address,
        changes=changes or [],
        store=store,
        tracking_uri=tracking_uri,
    )
    _say(f"job {job} on {address}")
    if no_wait:
        _say(f"follow it: reskd logs {job} --address {address}")
        return
    raise typer.Exit(_follow(job, address))


def logs(job: JobId, address: Address) -> None:
    """Follow a job's log from its beginning, until it ends. Ctrl-C leaves the job running."""
    raise typer.Exit(_follow(job, address))


def cancel(job: JobId, address: Address) -> None:
    """Stop a job. What it has trained is kept: the same sweep submitted again goes on from there."""
    from orchestrator.run import submit as cluster

    _say(f"job {job}: {cluster.cancel(cluster.connect(address), job).lower()}")


def show_jobs(address: str, *, sweep: str | None, as_json: bool) -> None:
    """The cluster's jobs and how they stand, newest first; with a sweep file's name, those of that sweep."""
    from orchestrator.run import submit as cluster

    lines = [line for line in cluster.jobs(cluster.connect(address)) if sweep is None or line.is_of(sweep)]
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
        return
    table = Table("job", "sweep", "status", "started", "exit code")
    for line in lines:
        code = "" if line.exit_code is None else str(line.exit_code)
        table.add_row(line.id, line.sweep, line.status.lower(), line.started, code)
    console.print(table)


def _follow(job: str, address: str) -> int:
    from orchestrator.run import submit as cluster

    client = cluster.connect(address)
    cluster.find(client, job)  # BadInput for an id that nobody knows; later only the connection can fail
    try:
        code = cluster.follow(client, job, write=lambda text: print(text, end="", flush=True))
    except (KeyboardInterrupt, BadInput) as stop:
        _say(f"\njob {job} goes on without this terminal." if isinstance(stop, KeyboardInterrupt) else f"\n{stop}")
        _say(f"follow it again: reskd logs {job} --address {address}")
        _say(f"stop it:         reskd cancel {job} --address {address}")
        return 3
    status = cluster.find(client, job).status.lower()
    _say(f"job {job}: {status}, exit code {code}")
    if status == "failed" and code == 1:
        _say(cluster.message_of(client, job))
    return code


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
