"""The order in which jobs start: the longest chain first, or seed by seed where that takes no longer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from orchestrator.plan.job import Job
from orchestrator.plan.simulate import ROUNDING, Work, chains, simulate


def in_order(jobs: Sequence[Job], *, seeds: Mapping[str, int], num_devices: float) -> tuple[Job, ...]:
    """The jobs in the order of their priority, parents before children.

    A job that starts a longer chain of jobs comes first, then the job with the higher cost. If the schedule does not
    get longer by it, jobs of a lower seed come before all others: so the tables of the first seed are complete while
    the other seeds train. ``seeds``: step id -> seed of its row; a job whose steps have no row comes as early as the
    jobs that wait for it.
    """
    chain = chains([Work(job.id, job.cost, 0.0, after=job.depends_on) for job in jobs])
    by_chain = tuple(sorted(jobs, key=lambda job: (-chain[job.id], -job.cost, job.id)))
    first = {job.id: min(seeds.get(step_id, math.inf) for step_id in job.members) for job in jobs}
    for job in reversed(by_chain):  # children before parents
        for parent in job.depends_on:
            first[parent] = min(first[parent], first[job.id])
    by_seed = tuple(sorted(by_chain, key=lambda job: first[job.id]))
    limit = _makespan(by_chain, num_devices) * (1 + ROUNDING)
    return by_seed if _makespan(by_seed, num_devices) <= limit else by_chain


def works_of(jobs: Sequence[Job], *, num_devices: float) -> list[Work]:
    """The jobs as the simulated schedule sees them; one too large for all devices takes all of them."""
    return [
        Work(
            job.id,
            job.cost,
            min(num_devices, job.estimate.device_seconds / job.cost) if job.estimate and job.cost else 0.0,
            after=job.depends_on,
        )
        for job in jobs
    ]


def _makespan(jobs: Sequence[Job], num_devices: float) -> float:
    return simulate(works_of(jobs, num_devices=num_devices), num_devices=num_devices).makespan
