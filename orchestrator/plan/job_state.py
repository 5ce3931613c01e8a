"""The state of a job in a run, without Ray, for the scheduler and the display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from orchestrator.plan.job import Job

JobState = Literal["waiting", "running", "done", "failed", "blocked", "split"]
"""split: its members continue in two jobs."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A job's state and epoch."""

    job_id: str
    state: JobState
    epoch: int = 0
    num_epochs: int = 0
    clips_per_s: float = 0.0
    new_job: Job | None = None
    """The job itself, if it is not in the plan."""
