"""Splits cohorts into smaller jobs that run in parallel, although each part repeats the teacher's forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from orchestrator.plan.cohorts import Cohort
from orchestrator.plan.simulate import Schedule, Work, chains, simulate

LEAST_GAIN = 0.05
"""A split must save this share of the makespan, since it always costs device time."""
SHARES = (1.5, 2, 3, 4, 6, 8)
"""Divisors of the longest job's seconds that are tried, in this order, as the limit for a part."""
MAX_HALVED = 16
"""How often jobs of the longest chain are split in two at most."""


def split_cohorts(
    cohorts: Sequence[Cohort],
    *,
    seconds: Callable[[Cohort], float],
    devices: Callable[[Cohort], float],
    fits: Callable[[Cohort], bool],
    num_devices: float,
) -> list[Cohort]:
    """The cohorts, some of them cut: to fit in memory, and for the least simulated makespan.

    Of cuts whose makespans are within LEAST_GAIN the one with the fewest jobs is taken, so on one device nothing is
    cut. A member that does not fit alone stays as it is. The same arguments give the same cohorts.
    """
    known: dict[frozenset[str], float] = {}

    def time(cohort: Cohort) -> float:
        ids = frozenset(member.step.id for member in cohort)
        if ids not in known:
            known[ids] = seconds(cohort)
        return known[ids]

    best = [part for cohort in cohorts for part in _cut(cohort, seconds=time, is_fine=fits)]
    if max(map(devices, best), default=0.0) > num_devices:
        return best  # the jobs cannot run with the declared resources; `run` reports it
    found = _schedule(best, seconds=time, devices=devices, num_devices=num_devices)
    start, longest = best, max(map(time, best), default=0.0)
    for share in SHARES:
        # No cut reduces the total work, which bounds the makespan from below.
        if found.makespan * (1 - LEAST_GAIN) <= found.work / num_devices:
            break
        limit = longest / share
        tried = _cut_all(start, seconds=time, limit=limit)
        schedule = _schedule(tried, seconds=time, devices=devices, num_devices=num_devices)
        if schedule.makespan < found.makespan * (1 - LEAST_GAIN):
            best, found = tried, schedule
    tries = [
        _halve_longest_chain(cohorts, seconds=time, devices=devices, num_devices=num_devices)
        for cohorts in ([start] if best is start else [start, best])
    ]
    least = min(schedule.makespan for _, schedule in tries)
    return min((halved for halved, schedule in tries if schedule.makespan * (1 - LEAST_GAIN) <= least), key=len)


def _halve_longest_chain(
    cohorts: list[Cohort],
    *,
    seconds: Callable[[Cohort], float],
    devices: Callable[[Cohort], float],
    num_devices: float,
) -> tuple[list[Cohort], Schedule]:
    """Split jobs of the longest chain in two, as long as that shortens the makespan. Each time the best split is taken.

    Splitting other jobs would not end the chain sooner, and each part repeats the teacher's forward pass.
    """
    found = _schedule(cohorts, seconds=seconds, devices=devices, num_devices=num_devices)
    for _ in range(MAX_HALVED):
        if found.makespan * (1 - LEAST_GAIN) <= found.work / num_devices:
            break
        chain = _longest_chain(_works(cohorts, seconds=seconds, devices=devices))
        tries = [
            (tried, _schedule(tried, seconds=seconds, devices=devices, num_devices=num_devices))
            for length in sorted({seconds(cohorts[index]) for index in chain})
            for tried in _halved(cohorts, length, seconds=seconds)
        ]
        tried, schedule = min(tries, key=lambda one: (one[1].makespan, len(one[0])))
        if schedule.makespan >= found.makespan * (1 - LEAST_GAIN):
            break
        cohorts, found = tried, schedule
    return cohorts, found


def _halved(cohorts: Sequence[Cohort], length: float, *, seconds: Callable[[Cohort], float]) -> Iterator[list[Cohort]]:
    """Yield the cohorts with jobs of this length split in two; then with jobs of this length or longer split.

    Several seeds have equally long chains, and all of them must get shorter.
    """
    least = length * (1 - LEAST_GAIN)
    for most in (length / (1 - LEAST_GAIN), math.inf):
        yield [
            part
            for one in cohorts
            for part in (_parts(one, 2, seconds=seconds) if least <= seconds(one) <= most else [one])
        ]


def _longest_chain(jobs: Sequence[Work]) -> list[int]:
    """Places of the jobs of the longest chain."""
    chain, places = chains(jobs), {job.id: place for place, job in enumerate(jobs)}
    following: list[Work] = list(jobs)
    found: list[int] = []
    while following:
        head = max(following, key=lambda job: chain[job.id])
        found.append(places[head.id])
        following = [job for job in jobs if head.id in job.after]
    return found


def _cut_all(cohorts: Sequence[Cohort], *, seconds: Callable[[Cohort], float], limit: float) -> list[Cohort]:
    """Split every job of more than ``limit`` seconds into parts of at most that."""
    return [
        part
        for cohort in cohorts
        for part in _cut(cohort, seconds=seconds, is_fine=lambda part: seconds(part) <= limit)
    ]


def _cut(cohort: Cohort, *, seconds: Callable[[Cohort], float], is_fine: Callable[[Cohort], bool]) -> list[Cohort]:
    """The fewest parts that are all fine, or single members; each member, longest first, to the shortest part."""
    if is_fine(cohort) or len(cohort) == 1:
        return [cohort]
    for number in range(2, len(cohort)):
        parts = _parts(cohort, number, seconds=seconds)
        if all(map(is_fine, parts)):
            return parts
    return _parts(cohort, len(cohort), seconds=seconds)


def _parts(cohort: Cohort, number: int, *, seconds: Callable[[Cohort], float]) -> list[Cohort]:
    """Split a cohort into at most ``number`` parts. Each member, longest first, goes to the shortest part."""
    alone = {member.step.id: seconds((member,)) for member in cohort}
    parts: list[Cohort] = [()] * min(number, len(cohort))
    for member in sorted(cohort, key=lambda member: (-alone[member.step.id], member.step.id)):
        shortest = min(range(len(parts)), key=lambda index: sum(alone[other.step.id] for other in parts[index]))
        parts[shortest] = (*parts[shortest], member)
    return parts


def _schedule(
    cohorts: Sequence[Cohort],
    *,
    seconds: Callable[[Cohort], float],
    devices: Callable[[Cohort], float],
    num_devices: float,
) -> Schedule:
    """Simulate the jobs in a plan's order: longest chain first, then longest job."""
    jobs = _works(cohorts, seconds=seconds, devices=devices)
    chain = chains(jobs)
    return simulate(sorted(jobs, key=lambda job: (-chain[job.id], -job.seconds, job.id)), num_devices=num_devices)


def _works(
    cohorts: Sequence[Cohort], *, seconds: Callable[[Cohort], float], devices: Callable[[Cohort], float]
) -> list[Work]:
    """Each cohort as a job, called by its place, after those that train its teachers."""
    trained_in = {member.step.id: str(index) for index, cohort in enumerate(cohorts) for member in cohort}
    jobs = []
    for index, cohort in enumerate(cohorts):
        teachers = {trained_in[m.step.teacher_id] for m in cohort if m.step.teacher_id in trained_in}
        jobs.append(Work(str(index), seconds(cohort), devices(cohort), after=tuple(sorted(teachers - {str(index)}))))
    return jobs
