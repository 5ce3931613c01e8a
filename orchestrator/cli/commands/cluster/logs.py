"""`reskd logs`: a job's log, followed."""

from __future__ import annotations

import typer

from orchestrator.cli.commands.cluster.shared import Address, JobId, follow


def logs(job: JobId, address: Address) -> None:
    """Follow a job's log from its beginning, until it ends. Ctrl-C leaves the job running."""
    raise typer.Exit(follow(job, address))
