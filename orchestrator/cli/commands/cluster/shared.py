"""Shared parts of the commands for a cluster: its address, its jobs, and following a job."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from orchestrator.cli.console import console
from reskd.errors import BadInput
from reskd.passwords import without_passwords

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
Address = Annotated[
    str,
    typer.Option("--address", envvar=ADDRESS_VARIABLE, help="Address of Ray's dashboard: http://host:8265."),
]
JobId = Annotated[str, typer.Argument(help="The job's id. `submit` prints it, `status --address` lists all.")]


def show_jobs(address: str, *, sweep: str | None, as_json: bool) -> None:
    """Print the cluster's jobs with their status, newest first. With a sweep file's name, only the jobs of that
    sweep."""
    from orchestrator.run.cluster import submit as cluster

    lines = [line for line in cluster.jobs(cluster.connect(address)) if sweep is None or line.is_of(sweep)]
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
        return
    table = Table("job", "sweep", "status", "started", "exit code")
    for line in lines:
        code = "" if line.exit_code is None else str(line.exit_code)
        table.add_row(line.id, line.sweep, line.status.lower(), line.started, code)
    console.print(table)


def follow(job: str, address: str) -> int:
    """Print a job's log until it ends. Returns the job's own exit code, or 3 after Ctrl-C or a lost connection."""
    from orchestrator.run.cluster import submit as cluster

    client = cluster.connect(address)
    cluster.find(client, job)  # BadInput for an id that nobody knows; later only the connection can fail
    try:
        code = cluster.follow(client, job, write=lambda text: print(text, end="", flush=True))
    except (KeyboardInterrupt, BadInput) as stop:
        say(f"\njob {job} goes on without this terminal." if isinstance(stop, KeyboardInterrupt) else f"\n{stop}")
        say(f"follow it again: reskd logs {job} --address {address}")
        say(f"stop it:         reskd cancel {job} --address {address}")
        return 3
    status = cluster.find(client, job).status.lower()
    say(f"job {job}: {status}, exit code {code}")
    if status == "failed" and code == 1:
        say(cluster.message_of(client, job))
    return code


def say(text: str) -> None:
    """Print a line without markup and without wrapping, so that it can be copied."""
    console.print(without_passwords(text), markup=False, soft_wrap=True)
