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
    """Steps that train together. The job may start once the step `teacher_id` is done, whichever run trains it."""

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
    """Expected seconds."""
    execution: Execution = field(default_factory=Execution)
    """Execution settings; a resume uses those of its start."""
    estimate: JobEstimate | None = None
    why: str = ""
    """What its members share, and what keeps them apart from the most similar other job."""


def job_id(members: Iterable[str]) -> str:
    """The id of the job with these members, in any order."""
    return f"job-{hashlib.sha256(','.join(sorted(members)).encode('ascii')).hexdigest()[:12]}"


def cohort_job_id(cohort: Cohort) -> str:
    """The id of the job that trains a cohort."""
    return job_id(member.step.id for member in cohort)
