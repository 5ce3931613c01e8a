"""What a display shows of a run: its record, where its jobs are, and what follows from both."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plan.time_left import Pace, pace_of
from orchestrator.store.run_records import JobProgress, JobRecord, RunRecord, RunRecords

STARTING = JobProgress()
"""Of a job of which the workers have not said anything yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A run at one moment."""

    run: RunRecord
    progress: Mapping[str, JobProgress]
    """Job id -> where it is, of the running jobs."""
    silent_s: Mapping[str, float]
    """Job id -> seconds for which nothing new was heard of it."""
    elapsed_s: float
    pace: Pace

    def running(self) -> list[JobRecord]:
        return [job for job in self.run.jobs if job.state == "running"]

    def ended(self) -> list[JobRecord]:
        """The jobs that have ended, in the order of their ends."""
        return sorted((job for job in self.run.jobs if job.has_ended), key=lambda job: job.ended or 0.0)

    def where(self, job: JobRecord) -> JobProgress:
        return self.progress.get(job.id, STARTING)

    def since_start_s(self, job: JobRecord) -> float:
        """Seconds from the run's start to the job's end; to now if it runs."""
        return self.elapsed_s if job.ended is None else max(0.0, job.ended - self.run.started)

    def counts(self) -> dict[str, int]:
        """State -> number of jobs, for the states that there are."""
        states = [job.state for job in self.run.jobs]
        shown = ("done", "running", "waiting", "failed", "blocked")
        return {state: states.count(state) for state in shown if state in states}


class Looker:
    """Looks at a run again and again. It measures on its own clock for how long nothing new was heard of a job."""

    def __init__(self, records: RunRecords, run_id: str) -> None:
        self._records, self._run_id = records, run_id
        self._heard: dict[str, tuple[JobProgress, float]] = {}

    def look(self) -> View | None:
        """None once the run's record is gone."""
        run = self._records.run(self._run_id)
        if run is None:
            return None
        running = {job.id for job in run.jobs if job.state == "running"}
        found = {job_id: now for job_id, now in self._records.jobs(self._run_id).items() if job_id in running}
        moment = time.monotonic()
        for job_id in running:
            now = found.get(job_id, STARTING)
            if self._heard.get(job_id, (None, 0.0))[0] != now:
                self._heard[job_id] = (now, moment)
        return View(
            run=run,
            progress=found,
            silent_s={job_id: moment - self._heard[job_id][1] for job_id in running},
            elapsed_s=max(0.0, time.time() - run.started),
            pace=pace_of(run, found),
        )
