"""`reskd logs`: shows and follows a job's log."""

from __future__ import annotations

import typer

from orchestrator.cli.commands.cluster.shared import Address, JobId, follow


def logs(job: JobId, address: Address) -> None:
    """Show a job's log from its beginning and follow it until the job ends. Ctrl-C leaves the job running."""
    raise typer.Exit(follow(job, address))
