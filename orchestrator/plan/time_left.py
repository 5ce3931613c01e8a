"""How much of a run is done, by its estimates, and when it will end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plan.simulate import Work, simulate
from orchestrator.store.run_records import JobProgress, JobRecord, RunRecord

PRIOR_S = 30.0
"""The estimate counts as much as this many seconds of measured training. So there is a time left from the start, and
after a few minutes the measured pace decides."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The work of a run."""

    share: float
    """Share of the estimated work that is done, from 0 to 1; what failed counts as done."""
    left_s: float
    """Seconds until the last job ends."""


def share_of(job: JobRecord, progress: JobProgress | None) -> float:
    """Share of a job's epochs that are done, of those that were left when the run started."""
    if job.has_ended:
        return 1.0
    if progress is None or job.state != "running" or progress.num_epochs <= job.resume_from:
        return 0.0
    return min(1.0, max(0.0, progress.epochs_done - job.resume_from) / (progress.num_epochs - job.resume_from))


def pace_of(run: RunRecord, progress: Mapping[str, JobProgress]) -> Pace:
    """Share and time left of a run, given where its running jobs are.

    What is left is simulated job by job, as a plan does it, so that a chain of jobs, or the last one on a machine with
    several devices, counts with its whole length. Estimates are corrected by what the jobs so far have taken.
    """
    jobs = [job for job in run.jobs if job.state != "split"]
    shares = {job.id: share_of(job, progress.get(job.id)) for job in jobs}
    spent = estimated = PRIOR_S
    for job in jobs:
        now = progress.get(job.id)
        if job.state == "done" and job.started is not None and job.ended is not None:
            spent, estimated = spent + max(0.0, job.ended - job.started), estimated + job.cost_s
        elif job.state == "running" and now is not None and shares[job.id]:
            spent, estimated = spent + now.spent_s, estimated + job.cost_s * shares[job.id]
    left = [
        Work(
            job.id,
            job.cost_s * (1 - shares[job.id]) * spent / estimated,
            min(job.devices, run.num_devices),
            after=job.after,
        )
        for job in sorted(jobs, key=lambda job: job.state != "running")  # they have their devices already
        if not job.has_ended
    ]
    total = sum(job.cost_s for job in jobs)
    done = sum(job.cost_s * shares[job.id] for job in jobs)
    return Pace(done / total if total else 1.0, simulate(left, num_devices=run.num_devices).makespan)
