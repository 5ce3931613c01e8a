"""What a Tune trial does: it trains one job on a lane of workers, and keeps the lane for the next trial."""

from __future__ import annotations

import logging
from typing import Any

import ray
import ray.train
from ray import tune

from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.run.lanes.lane import Lane, shape_of
from orchestrator.run.lanes.train_run import open_lane

logger = logging.getLogger(__name__)


class JobTrial(tune.Trainable):
    """A trial of ``config["job"]``. Tune gives its process to one trial after another (``reuse_actors``)."""

    _lane: Lane | None = None

    def setup(self, config: dict[str, JobConfig]) -> None:
        self._begin(config["job"])

    def reset_config(self, new_config: dict[str, JobConfig]) -> bool:
        self._begin(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the job's end.

        A spot machine that goes says nothing against the job, so it is no attempt of it; the store keeps what was done.
        """
        while True:
            assert self._lane is not None
            try:
                self._lane.wait_for_end()
            except ray.train.TrainingFailedError as error:
                lost = self._machines - _living_machines()
                if not lost:
                    raise
                logger.warning(
                    "job %s: lost %d of the cluster's machines; starting again: %s", self._job.id, len(lost), error
                )
                self._begin(self._job)
                continue
            return {"done": True}

    def cleanup(self) -> None:
        if self._lane is not None:
            self._lane.close()

    def _begin(self, job: JobConfig) -> None:
        self._job, self._machines = job, _living_machines()
        lane = self._lane
        if lane is not None and lane.shape == shape_of(job) and lane.give(job):
            return
        if lane is not None:
            lane.close()
        self._lane = open_lane(job)
        self._lane.give(job)


def _living_machines() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
