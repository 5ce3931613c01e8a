"""Jobs onto Ray: one Tune trial a job, each trial's driver runs one Train worker group."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # orchestrator.run.controller has its own

import ray
import ray.train
from ray import tune
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from orchestrator.plan.job import Job
from orchestrator.plan.job_state import Progress
from orchestrator.run.early_stops import job_rule
from orchestrator.run.job_graph import Capacity, GraphSearcher
from orchestrator.run.ray_address import joins_cluster, without_token
from orchestrator.run.worker import train_loop
from orchestrator.spec.early_stopping import EarlyStopping
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Resources, recipe_to_dict
from orchestrator.store.folder import Store
from reskd.data.annotations import data_root
from reskd.runtime.determinism import CUBLAS_VARIABLE, CUBLAS_WORKSPACE

logger = logging.getLogger(__name__)

WORKER_START_TIMEOUT_S = 120
CLUSTER_START_TIMEOUT_S = 900
"""On a cluster, where machines may have to boot first."""
WORKER_FAILURES = 2
CONTROLLER_FAILURES = 5
POLL_S = 0.5
"""Seconds between two looks of Train's controller at its workers; a report waits for the next one."""


def declared_capacity(resources: Resources) -> Capacity:
    """What the sweep declares; else this machine's cores and no GPU, or without limit on a cluster not yet joined."""
    unknown = math.inf if joins_cluster() else None
    cpus, gpus = resources.max_cpus, resources.max_gpus
    return Capacity(
        cpus=cpus if cpus is not None else unknown or os.cpu_count() or 1,
        gpus=gpus if gpus is not None else unknown or 0,
    )


def cluster_capacity(resources: Resources, present: Mapping[str, float]) -> Capacity:
    """What the sweep declares, however little of it is up: the cluster scales to what waits. Else what is present.

    A declared number of GPUs comes with its machines' CPUs, so those are not limited by the ones that are up.
    """
    declared = declared_capacity(resources)
    scales = resources.max_gpus is not None
    return Capacity(
        cpus=present.get("CPU", 0) if math.isinf(declared.cpus) and not scales else declared.cpus,
        gpus=present.get("GPU", 0) if math.isinf(declared.gpus) else declared.gpus,
    )


@contextmanager
def ray_session(resources: Resources) -> Iterator[Capacity]:
    """A Ray of our own on this machine, or the cluster that RAY_ADDRESS names; what may be used of it."""
    capacity = declared_capacity(resources)
    without_token()
    variables = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_S),
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(
            CLUSTER_START_TIMEOUT_S if joins_cluster() else WORKER_START_TIMEOUT_S
        ),
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        CUBLAS_VARIABLE: CUBLAS_WORKSPACE,
    }
    if joins_cluster():
        ray.init(address=os.environ["RAY_ADDRESS"], runtime_env={"env_vars": variables}, log_to_driver=True)
        capacity = cluster_capacity(resources, ray.cluster_resources())
    else:
        # Soft stops alone are used, so nothing needs the dashboard's State API to free placement groups.
        ray.init(
            address="local",
            num_cpus=math.ceil(capacity.cpus),
            include_dashboard=False,
            runtime_env={"env_vars": variables},
            log_to_driver=True,
        )
    try:
        yield capacity
    finally:
        ray.shutdown()


def job_config(
    job: Job,
    *,
    steps: Mapping[str, Step],
    store: Store,
    owner_id: str,
    resources: Resources,
    manifest: Path,
    provenance: Mapping[str, Any],
    early_stopping: EarlyStopping | None = None,
) -> dict[str, Any]:
    """Everything a worker needs, as plain data."""
    data = steps[job.members[0]].recipe.data
    teacher = store.weights_path(job.teacher_id) if job.teacher_id else job.teacher_checkpoint
    return {
        "job": job.id,
        "store": store.address,
        "owner": owner_id,
        "members": [
            {
                "step_id": step_id,
                "recipe": recipe_to_dict(steps[step_id].recipe),
                "provenance": {
                    "full_id": steps[step_id].full_id,
                    "teacher_id": steps[step_id].teacher_id,
                    **provenance,
                },
            }
            for step_id in job.members
        ],
        "teacher": store.reference(Path(teacher)) if teacher else None,
        "manifest": store.reference(manifest),
        "early_stopping": job_rule(early_stopping, job.members, steps) if early_stopping else None,
        "root": str(data_root(data)),
        "threads": max(1, int(resources.cpus_per_worker)),
        "loader_workers": resources.num_loaders,
        "execution": job.execution.to_record(),
        "num_workers": job.workers,
        "cpus_per_worker": resources.cpus_per_worker,
        "gpus_per_worker": resources.gpus_per_worker,
        "ray_folder": str(store.ray_folder(owner_id)),
    }


def drive(config: dict[str, Any]) -> dict[str, Any]:
    """A trial: one Train run, and another one for as long as what ended it was a lost machine.

    A spot machine that goes says nothing against the job, so it is no attempt of it; the store keeps what was done.
    """
    while True:
        before = _living_nodes()
        try:
            _trainer(config).fit()
        except ray.train.TrainingFailedError as error:
            lost = before - _living_nodes()
            if not lost:
                raise
            logger.warning(
                "job %s: lost %d of the cluster's machines; starting again: %s", config["job"], len(lost), error
            )
            continue
        return {"job_done": 1}


def _living_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _trainer(config: dict[str, Any]) -> TorchTrainer:
    """A Train run of the job. Its name holds the time, so Ray never resumes anything by name."""
    per_worker = {"CPU": config["cpus_per_worker"]}
    if config["gpus_per_worker"]:
        per_worker["GPU"] = config["gpus_per_worker"]
    return TorchTrainer(
        train_loop,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=config["num_workers"],
            use_gpu=bool(config["gpus_per_worker"]),
            resources_per_worker=per_worker,
        ),
        # nccl refuses two workers on one GPU.
        torch_config=TorchConfig(backend="nccl" if config["gpus_per_worker"] >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            name=f"{config['job']}-{int(time.time() * 1000)}",
            storage_path=str(Path(config["ray_folder"], "train")),
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]  # ray.train exports the v1 types
            failure_config=ray.train.FailureConfig(
                max_failures=WORKER_FAILURES,
                controller_failure_limit=CONTROLLER_FAILURES,  # type: ignore[call-arg]
            ),
        ),
    )


class _Events(tune.Callback):
    """Tune's events as Progress; the listener stays behind when Tune pickles its callbacks."""

    def __init__(self, searcher: GraphSearcher, listener: Callable[[Progress], None]) -> None:
        self._searcher, self._listener = searcher, listener

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._listener(Progress(trial.config["job"], "running"))

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        if "epoch" in result:
            self._listener(
                Progress(trial.config["job"], "running", result["epoch"], result["num_epochs"], result["clips_per_s"])
            )

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        job_id = trial.config["job"]
        self._listener(Progress(job_id, self._searcher.states[job_id]))
        for part in self._searcher.parts.get(job_id, ()):
            self._listener(Progress(part.id, "waiting", new_job=part))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)


def _trial_folder(trial: Any) -> str:
    return f"{trial.config['job']}-{trial.trial_id}"


def run_jobs(
    jobs: Sequence[Job],
    *,
    store: Store,
    owner_id: str,
    capacity: Capacity,
    configs: Mapping[str, dict[str, Any]],
    on_event: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> tuple[str, ...]:
    """Run jobs in dependency order on the Ray that is connected; steps of the jobs that failed.

    Returns early, with jobs left waiting or running, when the process is interrupted.
    """
    searcher = GraphSearcher(jobs, store=store, capacity=capacity, configs=configs, should_stop=should_stop)
    # No CPU: a driver that holds even a hundredth starves two one-CPU workers on two cores.
    on_head = tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
    tune.Tuner(
        tune.with_resources(drive, on_head),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=sum(len(job.members) for job in jobs),  # a job may become several
            reuse_actors=True,  # the next job's driver need not start a process and load Train again
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(store.ray_folder(owner_id)),
            verbose=0,
            callbacks=[_Events(searcher, on_event)],
        ),
    ).fit()
    for job_id, state in searcher.states.items():
        if state == "blocked":
            on_event(Progress(job_id, state))
    if all(searcher.states[job_id] == "done" for job_id in searcher.jobs):
        shutil.rmtree(store.ray_folder(owner_id), ignore_errors=True)
    failed = (job for job in searcher.jobs.values() if searcher.states[job.id] == "failed")
    return tuple(step_id for job in failed for step_id in job.members)
