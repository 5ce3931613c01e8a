"""Keeps the record of a run in the store: its jobs, and the state of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.job import Job
from orchestrator.run.display.words import short_label
from orchestrator.spec.steps import name_of
from orchestrator.store.lease_owner import Owner
from orchestrator.store.run_records import JobRecord, JobState, RunRecord, RunRecords
from reskd.errors import ReskdError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StateChange:
    """A job has a new state."""

    job_id: str
    state: JobState
    new_job: Job | None = None
    """The job itself, if it is not in the plan."""
    reason: str = ""
    """Why its last trial ended with an error, where it did."""


class Recorder:
    """The record of one run. Pass its `update` to run_jobs as on_change. A store that fails never fails the run."""

    def __init__(
        self,
        prepared: Prepared,
        jobs: Sequence[Job],
        *,
        owner: Owner,
        files: Sequence[Path],
        log: Path,
        num_devices: float,
    ) -> None:
        self._prepared = prepared
        self.records = RunRecords(prepared.store)
        self._jobs: dict[str, JobRecord] = {}
        for job in jobs:
            share = job.estimate.device_seconds / job.cost if job.estimate and job.cost else 0.0
            self._jobs[job.id] = self._planned(job, min(num_devices, share))
        self.run = RunRecord(
            id=owner.id,
            process=str(owner),
            sweep=prepared.sweep.name,
            files=tuple(path.stem for path in files),
            log=str(log),
            started=time.time(),
            num_devices=num_devices,
            leased=jobs[0].members[0],
            jobs=(),
        )

    def begin(self) -> None:
        """Write the record, and remove those of runs that have ended without removing theirs."""
        with _only_warning():
            self.records.forget_dead()
        self._write()

    def end(self) -> None:
        """Remove the record."""
        with _only_warning():
            self.records.forget_run(self.run.id)

    def update(self, change: StateChange) -> JobRecord:
        """Write a job's new state, and remove where it was if it no longer runs. Returns the job's new record."""
        if change.new_job is not None and change.job_id not in self._jobs:
            self._jobs[change.job_id] = self._part(change.new_job)
        before = self._jobs[change.job_id]
        now = time.time()
        after = replace(before, state=change.state)
        if change.state == "running":
            after = replace(after, started=now)
        elif after.has_ended:
            after = replace(
                after, ended=now, accuracy=self._accuracy(before), reason=self._reason(before) or change.reason
            )
        self._jobs[change.job_id] = after
        self._write()
        if change.state != "running" and before.state == "running":
            with _only_warning():
                self.records.forget_job(self.run.id, change.job_id)
        return after

    def _planned(self, job: Job, devices: float) -> JobRecord:
        steps = self._prepared.steps
        return JobRecord(
            id=job.id,
            label=short_label(job, steps),
            names={step_id: name_of(step) for step_id, step in steps.items() if step_id in job.members},
            cost_s=job.cost,
            devices=devices,
            after=job.depends_on,
            resume_from=job.resume_from,
        )

    def _part(self, job: Job) -> JobRecord:
        """A job that was made of another one, which ran out of memory; it takes as many devices."""
        whole = next(other for other in self._jobs.values() if other.names.keys() >= set(job.members))
        return self._planned(job, whole.devices)

    def _accuracy(self, job: JobRecord) -> Mapping[str, float]:
        found = {}
        for step_id in job.names:
            with suppress(OSError, ReskdError):
                done = self._prepared.store.done(step_id)
                value = (done or {}).get("metrics", {}).get(f"test/{self._prepared.steps[step_id].recipe.eval.metric}")
                if value is not None:
                    found[step_id] = value
        return found

    def _reason(self, job: JobRecord) -> str:
        with suppress(OSError, ReskdError):
            failures = [self._prepared.store.failure(step_id) for step_id in job.names]
            return next((str(failure["reason"]) for failure in failures if failure is not None), "")
        return ""

    def _write(self) -> None:
        with _only_warning():
            self.records.write_run(replace(self.run, jobs=tuple(self._jobs.values())))


@contextmanager
def recorded(recorder: Recorder) -> Iterator[None]:
    """The run is on record while the body runs."""
    recorder.begin()
    try:
        yield
    finally:
        recorder.end()


@contextmanager
def _only_warning() -> Iterator[None]:
    try:
        yield
    except (OSError, ReskdError) as error:
        logger.warning("the record of the run, which displays read, is not up to date: %s", error)
