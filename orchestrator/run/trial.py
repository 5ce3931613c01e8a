"""What one Tune trial does: a job's Train run, and another one for as long as a lost machine is what ended it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.tune.integration.ray_train import TuneReportCallback

from orchestrator.run.job_config import JobConfig
from orchestrator.run.worker import train_loop

logger = logging.getLogger(__name__)

WORKER_FAILURES = 2
CONTROLLER_FAILURES = 5


def drive(config: dict[str, JobConfig]) -> dict[str, Any]:
    """A trial of ``config["job"]``; Tune wants a dict, and takes the one that is returned as the last result.

    A spot machine that goes says nothing against the job, so it is no attempt of it; the store keeps what was done.
    """
    job = config["job"]
    while True:
        before = _living_nodes()
        try:
            _trainer(job).fit()
        except ray.train.TrainingFailedError as error:
            lost = before - _living_nodes()
            if not lost:
                raise
            logger.warning("job %s: lost %d of the cluster's machines; starting again: %s", job.id, len(lost), error)
            continue
        return {"job_done": 1}


def _living_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _trainer(job: JobConfig) -> JobTrainer:
    """A Train run of the job. Its name holds the time, so Ray never resumes anything by name."""
    per_worker = {"CPU": job.cpus_per_worker}
    if job.gpus_per_worker:
        per_worker["GPU"] = job.gpus_per_worker
    return JobTrainer(
        train_loop,
        train_loop_config={"job": job},
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.num_workers,
            use_gpu=bool(job.gpus_per_worker),
            resources_per_worker=per_worker,
        ),
        # nccl refuses two workers on one GPU.
        torch_config=TorchConfig(backend="nccl" if job.gpus_per_worker >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            name=f"{job.id}-{int(time.time() * 1000)}",
            storage_path=str(Path(job.ray_folder, "train")),
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]  # ray.train exports the v1 types
            failure_config=ray.train.FailureConfig(
                max_failures=WORKER_FAILURES,
                controller_failure_limit=CONTROLLER_FAILURES,  # type: ignore[call-arg]
            ),
        ),
    )


class JobTrainer(TorchTrainer):
    """Ray's trainer, whose job ends when its workers have: Ray's own waits 12 s for its placement-group cleaner.

    The cleaner is a process beside each run that frees the workers' places where Train's controller was killed. Ray
    2.60 ends it by asking, and waits for a thread of it that does not end. On a cluster ours is killed instead. A Ray
    of our own has none: the cleaner asks the dashboard's State API, which is off there, so it could free nothing.
    """

    def _create_default_callbacks(self) -> list[Any]:
        kept = [
            one
            for one in super()._create_default_callbacks()  # type: ignore[misc]  # typed as the v1 trainer
            if not isinstance(one, PlacementGroupCleanerCallback)
        ]
        is_on_cluster = self.train_loop_config["job"].on_cluster  # type: ignore[attr-defined]
        return [*kept, PromptCleanerCallback()] if is_on_cluster else kept


class PromptCleanerCallback(PlacementGroupCleanerCallback):
    """Ray's cleaner of placement groups, ended at once; by then the controller has freed the places itself."""

    def _stop_cleaner(self) -> None:
        cleaner, self._cleaner = self._cleaner, None
        if cleaner is not None:
            ray.kill(cleaner)  # type: ignore[arg-type]  # it is annotated as the actor's class
