"""Records of a run as a real one writes them, for the tests of displays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.plan.time_left import pace_of
from orchestrator.run.display.view import View
from orchestrator.store.lease_owner import Owner
from orchestrator.store.run_records import JobProgress, JobRecord, MemberProgress, RunRecord

STARTED = 1_700_000_000.0
ELSEWHERE = Owner("away", "elsewhere", "another boot", 1, "1")
"""A process of another machine."""


def job(name: str, *rows: str, **facts: Any) -> JobRecord:
    """A job of 100 estimated seconds with a member for each row, whose step id is the row's name."""
    known: dict[str, Any] = {"cost_s": 100.0, "devices": 1.0, "label": f"job {name}", **facts}
    return JobRecord(id=name, names={row: row for row in rows or ("only",)}, **known)


def run(*jobs: JobRecord, owner: Owner = ELSEWHERE, **facts: Any) -> RunRecord:
    """A run of the sweep file levels.yaml."""
    known: dict[str, Any] = {"started": STARTED, "num_devices": 1.0, "log": "", "leased": "5tep", **facts}
    return RunRecord(id=owner.id, process=str(owner), sweep="levels", files=("levels",), jobs=jobs, **known)


def training(job: JobRecord, **facts: Any) -> JobProgress:
    """A job in the third of ten epochs: losses 0.25, 0.35, ...; accuracies 60 %, 70 %, ..."""
    members = {
        step_id: MemberProgress(loss=0.25 + number / 10, accuracy=0.6 + number / 10)
        for number, step_id in enumerate(job.names)
    }
    known: dict[str, Any] = {"phase": "training", "epoch": 3, "num_epochs": 10, "done": 5, "total": 20}
    return JobProgress(**{**known, "clips_per_s": 35.2, "spent_s": 25.0, "members": members, **facts})


def view(jobs: Sequence[JobRecord], progress: Mapping[str, JobProgress], **facts: Any) -> View:
    """A minute after the run's start."""
    found = run(*jobs)
    known = {"silent_s": {}, "elapsed_s": 60.0, "pace": pace_of(found, progress), **facts}
    return View(run=found, progress=progress, **known)  # type: ignore[arg-type]


def ended(job: JobRecord, state: str = "done", **facts: Any) -> JobRecord:
    """The job, which ran from the 10th to the 40th second of the run."""
    return replace(job, state=state, started=STARTED + 10, ended=STARTED + 40, **facts)  # type: ignore[arg-type]
