"""`reskd cancel`: a job stopped."""

from __future__ import annotations

from orchestrator.cli.commands.cluster.shared import Address, JobId, say


def cancel(job: JobId, address: Address) -> None:
    """Stop a job. What it has trained is kept: the same sweep submitted again goes on from there."""
    from orchestrator.run import submit as cluster

    say(f"job {job}: {cluster.cancel(cluster.connect(address), job).lower()}")
