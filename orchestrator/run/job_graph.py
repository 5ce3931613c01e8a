"""The scheduler inside Ray Tune: it starts a job when its teacher is DONE in the store and its workers fit.

Tune does not know dependencies between trials. A Train run inside a trial reserves its workers' resources without
Tune's knowledge. So this module decides both, and gives Tune one trial after another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.search import Searcher

from orchestrator.plan.job import Job, job_id
from orchestrator.run.display.recorder import StateChange
from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.store.lease import StallWatch, read_lease
from orchestrator.store.run_records import JobState
from orchestrator.store.store import Store

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 2
"""Number of trials of a job before this run gives up its unfinished steps."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The resources that all jobs may use at the same time."""

    cpus: float
    gpus: float

    def fits(self, job: Job, running: Sequence[Job]) -> bool:
        cpus = job.cpus + sum(other.cpus for other in running)
        gpus = job.gpus + sum(other.gpus for other in running)
        return cpus <= self.cpus and gpus <= self.gpus


class GraphSearcher(Searcher):
    """The states of the jobs, and which trial runs which job.

    ``on_change`` hears of each new state. A store that does not answer is asked again at the next suggestion: Tune goes
    on asking, and the run's watchdog ends what takes too long.

    Beside ``on_change`` and ``should_stop``, it holds plain data only, since Tune pickles its searcher.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        store: Store,
        capacity: Capacity,
        configs: Mapping[str, JobConfig],
        on_change: Callable[[StateChange], None] = lambda change: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self.jobs = {job.id: job for job in jobs}
        self.store = store
        self.capacity = capacity
        self.configs = dict(configs)
        self.states: dict[str, JobState] = dict.fromkeys(self.jobs, "waiting")
        self.attempts = dict.fromkeys(self.jobs, 0)
        self.job_of_trial: dict[str, str] = {}
        self.parts: dict[str, list[Job]] = {}
        """Jobs that were made of one that ran out of memory."""
        self._on_change, self._should_stop = on_change, should_stop
        self._watch = StallWatch()
        self._ended: list[str] = []
        """Jobs whose trials have ended, and whose new states are not yet read from the store."""
        self.reasons: dict[str, str] = {}
        """Why the last trial of a job ended with an error, where it did."""
        self._is_silent = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_change": None, "_should_stop": None}  # of this process alone

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        return True  # nothing here is compared by a metric

    def suggest(self, trial_id: str) -> Any:
        """The config of the next job under the key ``job``; None: ask again later; FINISHED: no job is left."""
        if self._should_stop():
            return Searcher.FINISHED  # without running trials, Tune would not check signals for minutes
        with self._asking_the_store():
            self._settle()
            for job in self.jobs.values():
                if self.states[job.id] == "waiting" and self._is_blocked(job):
                    self._set(job, "blocked")
            waiting = [job for job in self.jobs.values() if self.states[job.id] == "waiting"]
            running = [job for job in self.jobs.values() if self.states[job.id] == "running"]
            if not waiting:
                # A running job may return to waiting, so the search ends only when no job is left.
                return None if running else Searcher.FINISHED
            for job in waiting:  # in the plan's order: critical path first, then longest
                if self._is_ready(job) and self.capacity.fits(job, running):
                    self.attempts[job.id] += 1
                    self.job_of_trial[trial_id] = job.id
                    self._set(job, "running")
                    return {"job": self.configs[job.id]}
        return None

    @contextmanager
    def _asking_the_store(self) -> Iterator[None]:
        """Leave the body where the store does not answer; the first silence of several in a row is logged."""
        try:
            yield
        except OSError as error:
            if not self._is_silent:
                logger.warning("the store does not answer, and is asked again: %s", error)
            self._is_silent = True
        else:
            self._is_silent = False

    def _set(self, job: Job, state: JobState) -> None:
        self.states[job.id] = state
        self._on_change(StateChange(job.id, state, reason=self.reasons.get(job.id, "")))

    def _is_ready(self, job: Job) -> bool:
        return job.teacher_id is None or self.store.is_finished(job.teacher_id)

    def _is_blocked(self, job: Job) -> bool:
        teacher = job.teacher_id
        if teacher is None:
            return False
        if self.store.damage(teacher) is not None:
            return True
        makers = [maker for maker in self.jobs.values() if teacher in maker.members]
        if makers:
            has_ended = self.states[makers[0].id] in ("failed", "blocked", "done")
        else:  # the teacher is another run's, which may have ended
            path = self.store.lease_path(teacher)
            lease = read_lease(path)
            has_ended = lease is None or self._watch.is_stale(path, lease)
        # DONE is read last: a run may write it and return its lease between these two reads.
        has_failed = self.store.failure(teacher) is not None
        return (has_ended or has_failed) and not self.store.is_finished(teacher)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Take note that a trial has ended, however it did."""
        self._ended.append(self.job_of_trial[trial_id])
        with self._asking_the_store():
            self._settle()

    def note_error(self, trial_id: str, reason: str) -> None:
        """Take note of the error that ended a trial; Tune tells it after the end itself."""
        job_id = self.job_of_trial[trial_id]
        self.reasons[job_id] = reason
        if self.states.get(job_id) == "failed":
            self._set(self.jobs[job_id], "failed")

    def _settle(self) -> None:
        """Set the states of jobs whose trials have ended, from the store: a step is done if it has a DONE record."""
        while self._ended:
            job = self.jobs[self._ended[0]]
            state = self._state_after_trial(job)
            self._ended.pop(0)
            self._set(job, state)
            for part in self.parts.get(job.id, ()) if state == "split" else ():
                self._on_change(StateChange(part.id, "waiting", new_job=part))

    def _state_after_trial(self, job: Job) -> JobState:
        left = [
            step_id
            for step_id in job.members
            if not self.store.is_finished(step_id) and self.store.pruned(step_id) is None
        ]
        failed = [
            step_id
            for step_id in left
            if self.store.failure(step_id) is not None or self.store.to_split(step_id) is not None
        ]
        if not left:
            return "done"
        if self._split(job):
            return "split"
        if left == failed:
            return "failed"
        owner = self.configs[job.id].owner_id
        for step_id in left:
            lease = read_lease(self.store.lease_path(step_id))
            if lease is not None and lease.owner.id != owner:
                self.reasons[job.id] = f"step {step_id} belongs to another run by now: {lease.owner}"
                return "failed"
        if self.attempts[job.id] >= MAX_ATTEMPTS:
            return "failed"
        logger.warning("job %s ended with unfinished steps; trying again from the store", job.id)
        return "waiting"

    def _split(self, job: Job) -> bool:
        """Replace a job that ran out of memory by two jobs. Returns whether it did.

        A member's bits do not depend on the other members, so the two jobs resume from the store.
        """
        left = [step_id for step_id in job.members if self.store.to_split(step_id) is not None]
        if len(left) < 2:
            return False
        middle = len(left) // 2
        for members in (left[:middle], left[middle:]):
            part = replace(
                job,
                id=job_id(members),
                members=tuple(members),
                cost=job.cost * len(members) / len(job.members),
                estimate=None,
                why=f"half of {job.id}, which ran out of memory",
            )
            for step_id in members:
                self.store.forget_failure(step_id)
            self.jobs[part.id], self.states[part.id], self.attempts[part.id] = part, "waiting", 0
            self.configs[part.id] = self.configs[job.id].part(members)
            self.parts.setdefault(job.id, []).append(part)
        del self.jobs[job.id]
        logger.warning("job %s ran out of memory; its %d steps go on in two jobs", job.id, len(left))
        return True

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a later run starts from the store."""
        open(checkpoint_path, "wb").close()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("reskd resumes from its store, never from Tune's state")
