"""Simulates the schedule of jobs on a number of devices, by the searcher's rule."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reskd.errors import BadInput

ROUNDING = 1e-9
"""Tolerance for rounding in sums of device shares."""


@dataclass(frozen=True, slots=True)
class Work:
    """A job as the schedule sees it."""

    id: str
    seconds: float
    devices: float
    """Devices that it holds while it runs; below 1 if jobs share a device."""
    after: tuple[str, ...] = ()
    """Jobs that must end before it starts."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each job runs."""

    spans: Mapping[str, tuple[float, float]]
    """Job id -> (start, end) in seconds."""
    makespan: float
    """Seconds until all have ended."""
    work: float
    """Device-seconds of all jobs together."""
    critical_path: float
    """Seconds of the longest chain of dependent jobs."""
    num_devices: float

    @property
    def lower_bound(self) -> float:
        """A lower bound on the makespan of any schedule, in seconds."""
        return max(self.work / self.num_devices, self.critical_path)

    @property
    def utilisation(self) -> float:
        """Share of the devices' time that is worked in."""
        return self.work / (self.num_devices * self.makespan) if self.makespan else 1.0


def simulate(jobs: Sequence[Work], *, num_devices: float) -> Schedule:
    """Simulate the schedule. Whenever a job ends, all ready jobs that fit are started, in the given order.

    The order of ``jobs`` is their priority. Raises BadInput for a job that needs more devices than there are.
    """
    by_id = {job.id: job for job in jobs}
    priority = {job.id: index for index, job in enumerate(jobs)}
    waits = {job.id: sum(parent in by_id for parent in job.after) for job in jobs}
    children: dict[str, list[str]] = {}
    for job in jobs:
        if job.devices > num_devices + ROUNDING:
            raise BadInput(f"job {job.id} takes {job.devices:g} devices, but there are {num_devices:g}")
        for parent in job.after:
            children.setdefault(parent, []).append(job.id)
    ready = [priority[job_id] for job_id, number in waits.items() if not number]
    heapq.heapify(ready)
    smallest = min((job.devices for job in jobs), default=0.0)
    running: list[tuple[float, int]] = []
    spans: dict[str, tuple[float, float]] = {}
    now, free = 0.0, num_devices
    while ready or running:
        skipped = []
        while ready and free + ROUNDING >= smallest:
            index = heapq.heappop(ready)
            job = jobs[index]
            if job.devices > free + ROUNDING:
                skipped.append(index)
                continue
            free -= job.devices
            spans[job.id] = (now, now + job.seconds)
            heapq.heappush(running, (now + job.seconds, index))
        for index in skipped:
            heapq.heappush(ready, index)
        if not running:
            break
        now = running[0][0]
        while running and running[0][0] <= now:
            job = jobs[heapq.heappop(running)[1]]
            free += job.devices
            for child in children.get(job.id, ()):
                waits[child] -= 1
                if not waits[child]:
                    heapq.heappush(ready, priority[child])
    assert len(spans) == len(jobs), "jobs wait for each other in a circle"
    return Schedule(
        spans=spans,
        makespan=max((end for _, end in spans.values()), default=0.0),
        work=sum(job.seconds * job.devices for job in jobs),
        critical_path=max(chains(jobs).values(), default=0.0),
        num_devices=num_devices,
    )


def chains(jobs: Sequence[Work]) -> dict[str, float]:
    """Seconds of the longest chain of jobs that begins with each."""
    children: dict[str, list[Work]] = {}
    for job in jobs:
        for parent in job.after:
            children.setdefault(parent, []).append(job)
    found: dict[str, float] = {}

    def chain(job: Work) -> float:
        if job.id not in found:
            found[job.id] = job.seconds + max(map(chain, children.get(job.id, [])), default=0.0)
        return found[job.id]

    for job in jobs:
        chain(job)
    return found
