"""Where a job of a run stands, without Ray: what its scheduler says and what a person is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from orchestrator.plan.job import Job

JobState = Literal["waiting", "running", "done", "failed", "blocked", "split"]
"""split: its members go on in two jobs."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A job's state, and its epoch where there is one."""

    job_id: str
    state: JobState
    epoch: int = 0
    num_epochs: int = 0
    clips_per_s: float = 0.0
    new_job: Job | None = None
    """The job itself, where the plan does not know it."""
