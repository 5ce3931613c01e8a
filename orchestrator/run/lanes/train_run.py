"""A lane's workers as one run of Ray Train, whose controller is a thread of the trial's process.

So the trial can hand jobs to the workers and hear of their ends, and no job pays for a controller's process.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import ray.train
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ReportCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.run.lanes.lane import Lane, shape_of
from orchestrator.run.lanes.places import NamedPlaces
from orchestrator.run.lanes.process_group import ProcessGroup
from orchestrator.run.lanes.worker import ENDED, serve

WORKER_FAILURES = 2
CONTROLLER_FAILURES = 5


def open_lane(job: JobConfig) -> Lane:
    """A lane for jobs with workers like this one's. Its workers start at once; it has no job yet."""
    return Lane(shape_of(job), lambda lane: _train_run(job, lane))


def _train_run(job: JobConfig, lane: Lane) -> None:
    """Run the lane's workers until they have ended; TrainingFailedError if they failed too often."""
    per_worker = {"CPU": job.cpus_per_worker}
    if job.gpus_per_worker:
        per_worker["GPU"] = job.gpus_per_worker
    LaneTrainer(
        lane,
        on_cluster=job.on_cluster,
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.num_workers,
            use_gpu=bool(job.gpus_per_worker),
            resources_per_worker=per_worker,
        ),
        # nccl refuses two workers on one GPU.
        backend_config=ProcessGroup("nccl" if job.gpus_per_worker >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            name=f"lane-{time.time_ns()}",  # a new one each time, so that Ray never resumes anything by name
            storage_path=str(Path(job.ray_folder, "train")),
            failure_config=ray.train.FailureConfig(
                max_failures=WORKER_FAILURES,
                controller_failure_limit=CONTROLLER_FAILURES,  # type: ignore[call-arg]
            ),
        ),
    ).fit()


class LaneTrainer(DataParallelTrainer):
    """Train's trainer, with its controller in this process in place of an actor, and without three of its helpers.

    - DatasetsCallback starts a process for Ray Data, which reads no videos here.
    - PlacementGroupCleaner is a process that frees the workers' places where the trial's process was killed. It asks
      the dashboard's State API, which is off in a Ray of our own; `lanes.places` does the same from the run's process.
    - AutoscalingCoordinator is a process that asks a cluster for machines. A Ray of our own has none: it cannot grow.
    """

    def __init__(self, lane: Lane, *, on_cluster: bool, **settings: Any) -> None:
        super().__init__(serve, **settings)
        self._lane, self._on_cluster = lane, on_cluster

    def _create_default_callbacks(self) -> list[Any]:
        dropped = (PlacementGroupCleanerCallback, DatasetsCallback)
        kept = [one for one in super()._create_default_callbacks() if not isinstance(one, dropped)]
        return [*kept, LaneCallback(self._lane)]

    def _initialize_and_run_controller(self, **parts: Any) -> ray.train.Result:
        if not self._on_cluster:
            parts["scaling_policy"] = FixedMachine(self.scaling_config)  # type: ignore[arg-type]  # annotated as its base
        controller = LaneController(**parts)
        asyncio.run(controller.run())
        return controller.get_result()


class LaneController(TrainController):
    """Train's controller, whose workers' places can be told from others."""

    worker_group_cls = NamedPlaces


class FixedMachine(FixedScalingPolicy):
    """As many workers as the job says, on a Ray that cannot grow, so that no autoscaler is told of them."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Do not start the coordinator of requests to the autoscaler."""

    def _maybe_send_resource_request(self) -> None:
        """Send nothing."""


class LaneCallback(WorkerGroupCallback, ReportCallback):
    """Tells a lane what Train's controller learns of the workers."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def after_worker_group_training_start(self, worker_group: Any) -> None:
        self._lane.workers_started(worker_group)

    def before_worker_group_shutdown(self, worker_group: Any) -> None:
        self._lane.workers_ended()

    def after_report(self, training_report: Any, metrics: list[dict[str, Any]]) -> None:
        self._lane.job_ended(metrics[0][ENDED])
