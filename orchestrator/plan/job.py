"""A job: steps that train together, what it takes and when it may start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.plan.cohorts import Cohort
from orchestrator.plan.cost import JobEstimate
from reskd.runtime.execution import Execution


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Steps that train together. It may start once the step teacher_id is done, whoever trains that."""

    id: str
    members: tuple[str, ...]
    teacher_id: str | None
    teacher_checkpoint: str | None
    depends_on: tuple[str, ...]
    """Jobs of this plan that train the teacher."""
    resume_from: int
    """Newest epoch that all members hold; 0: from the start."""
    workers: int
    cpus: float
    gpus: float
    cost: float
    """Seconds that it is expected to take."""
    execution: Execution = field(default_factory=Execution)
    """How it computes; a resume as at its start."""
    estimate: JobEstimate | None = None
    why: str = ""
    """What its members share, and what keeps them apart from the most similar other job."""


def job_id(members: Iterable[str]) -> str:
    """Of these steps, whatever their order."""
    return f"job-{hashlib.sha256(','.join(sorted(members)).encode('ascii')).hexdigest()[:12]}"


def cohort_job_id(cohort: Cohort) -> str:
    """The id of the job that trains a cohort."""
    return job_id(member.step.id for member in cohort)
