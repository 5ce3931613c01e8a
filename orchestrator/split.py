"""Cohorts cut into smaller jobs where more run at a time, although each part repeats the teacher's pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.cohorts import Cohort
from orchestrator.simulate import Schedule, Work, chains, simulate

LEAST_GAIN = 0.05
"""Share of the makespan that a cut must save, since it costs device time for sure."""
SHARES = (1.5, 2, 3, 4, 6, 8)
"""Of the longest job: how long a part may be; one after another tried."""


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
        return best  # nothing can run as it is declared; who runs it says so
    found = _schedule(best, seconds=time, devices=devices, num_devices=num_devices)
    start, longest = best, max(map(time, best), default=0.0)
    for share in SHARES:
        # No cut lowers the work, so none can end before that is done.
        if found.makespan * (1 - LEAST_GAIN) <= found.work / num_devices:
            break
        limit = longest / share
        tried = _cut_all(start, seconds=time, limit=limit)
        schedule = _schedule(tried, seconds=time, devices=devices, num_devices=num_devices)
        if schedule.makespan < found.makespan * (1 - LEAST_GAIN):
            best, found = tried, schedule
    return best


def _cut_all(cohorts: Sequence[Cohort], *, seconds: Callable[[Cohort], float], limit: float) -> list[Cohort]:
    """Every job of more than ``limit`` seconds in parts of no more."""
    return [
        part
        for cohort in cohorts
        for part in _cut(cohort, seconds=seconds, is_fine=lambda part: seconds(part) <= limit)
    ]


def _cut(cohort: Cohort, *, seconds: Callable[[Cohort], float], is_fine: Callable[[Cohort], bool]) -> list[Cohort]:
    """The fewest parts that are all fine, or single members; each member, longest first, to the shortest part."""
    if is_fine(cohort) or len(cohort) == 1:
        return [cohort]
    alone = {member.step.id: seconds((member,)) for member in cohort}
    order = sorted(cohort, key=lambda member: (-alone[member.step.id], member.step.id))
    for number in range(2, len(cohort)):
        parts: list[Cohort] = [()] * number
        for member in order:
            shortest = min(range(number), key=lambda index: sum(alone[other.step.id] for other in parts[index]))
            parts[shortest] = (*parts[shortest], member)
        if all(map(is_fine, parts)):
            return parts
    return [(member,) for member in order]


def _schedule(
    cohorts: Sequence[Cohort],
    *,
    seconds: Callable[[Cohort], float],
    devices: Callable[[Cohort], float],
    num_devices: float,
) -> Schedule:
    """By the order in which a plan starts them: longest chain first, then longest."""
    trained_in = {member.step.id: str(index) for index, cohort in enumerate(cohorts) for member in cohort}
    jobs = []
    for index, cohort in enumerate(cohorts):
        teachers = {trained_in[m.step.teacher_id] for m in cohort if m.step.teacher_id in trained_in}
        jobs.append(Work(str(index), seconds(cohort), devices(cohort), after=tuple(sorted(teachers - {str(index)}))))
    chain = chains(jobs)
    return simulate(sorted(jobs, key=lambda job: (-chain[job.id], -job.seconds, job.id)), num_devices=num_devices)
