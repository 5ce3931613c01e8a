"""`reskd submit`: runs sweeps on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.commands.cluster.shared import Address, follow, say
from orchestrator.cli.options import Changes, SweepFiles, TrackingUri


def submit(
    sweep: SweepFiles,
    address: Address,
    changes: Changes = None,
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="RESKD_STORE", help="A folder that all machines share, or s3://bucket/prefix."),
    ] = None,
    tracking_uri: TrackingUri = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and return at once.")] = False,
) -> None:
    """Run sweeps on a Ray cluster and follow the log. Several sweeps run in one schedule.

    Ctrl-C leaves the job running. The exit code is the job's own.
    """
    from orchestrator.run.cluster import submit as cluster

    job = cluster.submit(
        sweep,
        address=address,
        changes=changes or [],
        store=store,
        tracking_uri=tracking_uri,
        say=say,
    )
    say(f"job {job} on {address}")
    if no_wait:
        say(f"follow it: reskd logs {job} --address {address}")
        return
    raise typer.Exit(follow(job, address))
