"""What a Tune trial does: it trains one job on a lane of workers, and keeps the lane for the next trial."""

from __future__ import annotations

import logging
from typing import Any

import ray
import ray.train
from ray import tune

from orchestrator.plan.durations import duration
from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.run.lanes.lane import Lane, shape_of
from orchestrator.run.lanes.patience import Patience
from orchestrator.run.lanes.train_run import open_lane
from orchestrator.store.open import store_of
from orchestrator.store.run_records import JobProgress, RunRecords
from reskd.errors import ReskdError

LOOK_S = 2.0
"""Seconds between two looks at the job's record."""

logger = logging.getLogger(__name__)


class Stalled(ReskdError):
    """A job's workers live, but go on with nothing."""


class JobTrial(tune.Trainable):
    """A trial of ``config["job"]``. Tune gives its process to one trial after another (``reuse_actors``)."""

    _lane: Lane | None = None
    _job: JobConfig
    _records: RunRecords
    _epoch: int
    _patience: Patience

    def setup(self, config: dict[str, JobConfig]) -> None:
        self._begin(config["job"])

    def reset_config(self, new_config: dict[str, JobConfig]) -> bool:
        self._begin(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the job's end, or for its next epoch: Tune's results show where each job is.

        A spot machine that goes says nothing against the job, so it is no attempt of it; the store keeps what was done.
        """
        while True:
            assert self._lane is not None
            try:
                if self._lane.wait_for_end(LOOK_S):
                    return {"done": True}
            except ray.train.TrainingFailedError as error:
                lost = self._machines - _living_machines()
                if not lost:
                    raise
                logger.warning(
                    "job %s: lost %d of the cluster's machines; starting again: %s", self._job.id, len(lost), error
                )
                self._begin(self._job)
            if (found := self._new_epoch()) is not None:
                return found

    def _new_epoch(self) -> dict[str, Any] | None:
        """Where the job is by its record in the store; None if that names no new epoch, or the store is away.

        Raises Stalled if it has shown nothing new for too long.
        """
        try:
            progress = self._records.job(self._job.owner_id, self._job.id)
        except (OSError, ReskdError):
            self._patience.excuse()
            return None
        if self._lane is not None and not self._lane.has_workers:
            self._patience.excuse()  # Train has limits of its own for their start
        if self._patience.is_over(progress):
            raise Stalled(
                f"job {self._job.id} shows nothing new for {duration(self._patience.bound_s)} "
                f"({_place(progress)}); its workers are ended, and it goes on from the store"
            )
        if progress is None or progress.epoch == self._epoch:
            return None
        self._epoch = progress.epoch
        return as_result(progress)

    def cleanup(self) -> None:
        if self._lane is not None:
            self._lane.close()

    def _begin(self, job: JobConfig) -> None:
        self._job, self._machines, self._epoch = job, _living_machines(), 0
        self._patience = Patience(job.patience_s)
        self._records = RunRecords(store_of(job.store))
        lane = self._lane
        if lane is not None and lane.shape == shape_of(job) and lane.give(job):
            return
        if lane is not None:
            lane.close()
        self._lane = open_lane(job)
        self._lane.give(job)


def as_result(progress: JobProgress) -> dict[str, Any]:
    """A job's record as a result of its trial: numbers alone, which Tune logs under these names."""
    named = {f"loss/{step_id}": member.loss for step_id, member in progress.members.items()}
    named |= {f"accuracy/{step_id}": member.accuracy for step_id, member in progress.members.items()}
    known = {name: value for name, value in named.items() if value is not None}
    return {
        "epoch": progress.epoch,
        "num_epochs": progress.num_epochs,
        "clips_per_s": progress.clips_per_s,
        **known,
    }


def _place(progress: JobProgress | None) -> str:
    if progress is None:
        return "before its first training step"
    return f"{progress.phase}, epoch {progress.epoch} of {progress.num_epochs}, {progress.done} of {progress.total}"


def _living_machines() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
