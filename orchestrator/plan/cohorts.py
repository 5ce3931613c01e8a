"""Groups steps into cohorts that share a job: as few as clips, teachers and checkpoints allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.spec.steps import Step, StepStatus
from reskd.runtime.execution import Execution
from reskd.training.cohort_key import shared_key


@dataclass(frozen=True, slots=True)
class Candidate:
    """A step to be trained, with the constraints from its checkpoints."""

    step: Step
    workers: int
    """Number of workers; that of its checkpoints if it resumes."""
    execution: Execution
    """Execution settings; those of its checkpoints if it resumes."""
    epochs: frozenset[int]
    """Epochs from which it can resume; {0} without a checkpoint."""
    is_waiting: bool
    """Whether its teacher is not trained yet."""


Cohort = tuple[Candidate, ...]


def candidate_of(step: Step, has: Mapping[str, StepStatus], *, workers: int, execution: Execution) -> Candidate:
    """The candidate of a step. ``workers`` and ``execution`` apply if ``has`` holds no checkpoint to resume."""
    found = has[step.id]
    return Candidate(
        step,
        workers=(found.workers if found.epochs else None) or workers,
        execution=(found.execution if found.epochs else None) or execution,
        epochs=frozenset(found.epochs or (0,)),
        is_waiting=step.teacher_id is not None and has[step.teacher_id].state != "done",
    )


def common_epochs(cohort: Iterable[Candidate]) -> frozenset[int]:
    """Epochs from which all members can resume."""
    return frozenset.intersection(*(member.epochs for member in cohort))


def form_cohorts(todo: Sequence[Candidate], *, limit: int) -> list[Cohort]:
    """Put every candidate into one cohort of at most ``limit`` members. The number of cohorts is as small as possible.

    Steps without KD that are needed as teachers must not wait for another teacher, so their cohorts hold only steps
    without KD. Other steps without KD fill these cohorts up. They join students only if that saves a cohort, and
    preferably students whose teacher is done, since otherwise they would wait for that teacher.
    """
    needed = {member.step.teacher_id for member in todo}
    return [cohort for alike in _alike(todo, by=_clips_key) for cohort in _form_from(alike, needed=needed, limit=limit)]


def _clips_key(member: Candidate) -> tuple[object, ...]:
    """The values that all members of a cohort share. The manifest is one, since equal folders may hold other clips."""
    return (*shared_key(member.step.recipe), member.step.payload["manifest_sha256"])


def _teacher_key(member: Candidate) -> tuple[object, ...]:
    """The values that members with KD also share: one teacher and its mode."""
    step = member.step
    return step.payload["teacher"], step.recipe.kd.teacher_mode, step.recipe.teacher


def _alike(todo: Iterable[Candidate], *, by: Callable[[Candidate], object]) -> list[list[Candidate]]:
    """Candidates with equal keys together, in the order of their first."""
    found: dict[object, list[Candidate]] = {}
    for member in todo:
        found.setdefault(by(member), []).append(member)
    return list(found.values())


def _form_from(alike: Sequence[Candidate], *, needed: Collection[str | None], limit: int) -> list[Cohort]:
    """Cohorts of candidates that see the same clips; ``needed`` are the teachers to be trained."""

    def is_needed(member: Candidate) -> bool:
        return member.step.id in needed

    students = [member for member in alike if member.step.recipe.has_teacher]
    taught = [cohort for same in _alike(students, by=_teacher_key) for cohort in _pack(same, limit=limit)]
    taught.sort(key=lambda cohort: cohort[0].is_waiting)
    # Teachers first, so that they share few cohorts. Then the smallest cohorts are merged first.
    plain = sorted((member for member in alike if not member.step.recipe.has_teacher), key=is_needed, reverse=True)
    apart: list[Cohort] = []
    for cohort in sorted(_pack(plain, limit=limit), key=len):
        filled = None if any(map(is_needed, cohort)) else _ride(cohort, taught, limit=limit)
        if filled is None:
            apart.append(cohort)
        else:
            taught = filled
    return apart + taught


def _pack(alike: Iterable[Candidate], *, limit: int) -> list[Cohort]:
    """Split candidates into cohorts of at most ``limit``, with equal workers and execution and a common epoch.

    Each cohort uses the epoch that most remaining candidates hold (the newest if several), and takes the first
    candidates that hold it.
    """
    packed: list[Cohort] = []
    for left in _alike(alike, by=_run_key):
        while left:
            held = Counter(epoch for member in left for epoch in member.epochs)
            most = max(held, key=lambda epoch: (held[epoch], epoch))
            cohort = tuple(member for member in left if most in member.epochs)[:limit]
            packed.append(cohort)
            gone = {member.step.id for member in cohort}
            left = [member for member in left if member.step.id not in gone]
    return packed


def _ride(riders: Cohort, taught: Sequence[Cohort], *, limit: int) -> list[Cohort] | None:
    """The students' cohorts with all riders added, or None if a rider finds no room."""
    filled = list(taught)
    for rider in riders:
        room = next((index for index, cohort in enumerate(filled) if _fit((*cohort, rider), limit=limit)), None)
        if room is None:
            return None
        filled[room] = (*filled[room], rider)
    return filled


def _fit(cohort: Cohort, *, limit: int) -> bool:
    return len(cohort) <= limit and len(set(map(_run_key, cohort))) == 1 and len(common_epochs(cohort)) > 0


def _run_key(member: Candidate) -> tuple[object, ...]:
    return member.workers, member.execution
