"""`reskd cancel`: stops a job of a cluster."""

from __future__ import annotations

from orchestrator.cli.commands.cluster.shared import Address, JobId, say


def cancel(job: JobId, address: Address) -> None:
    """Stop a job. Nothing trained is lost: if you submit the same sweep again, it resumes."""
    from orchestrator.run.cluster import submit as cluster

    say(f"job {job}: {cluster.cancel(cluster.connect(address), job).lower()}")
