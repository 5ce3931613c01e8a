"""Where a job of a run stands, without Ray: what its scheduler says and what a person is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JobState = Literal["waiting", "running", "done", "failed", "blocked"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A job's state, and its epoch where there is one."""

    job_id: str
    state: JobState
    epoch: int = 0
    num_epochs: int = 0
    clips_per_s: float = 0.0
