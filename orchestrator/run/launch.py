"""Runs jobs on Ray, one Tune trial per job."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
import ray._private.utils
from ray import tune

from orchestrator.plan.job import Job
from orchestrator.run.display.recorder import StateChange
from orchestrator.run.job_graph import Capacity, GraphSearcher
from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.run.lanes.patience import least_patience
from orchestrator.run.lanes.train_run import CONTROLLER_FAILURES
from orchestrator.run.lanes.trial import JobTrial
from orchestrator.run.notify import without_secrets
from orchestrator.run.own_ray import own_ray, token_file
from orchestrator.run.ray_address import VARIABLE, cluster_address, joins_cluster
from orchestrator.spec.sweep import Resources
from orchestrator.store.store import Store
from orchestrator.tracking.settings import first_line
from reskd.errors import BadInput
from reskd.runtime.determinism import CUBLAS_VARIABLE, CUBLAS_WORKSPACE

WORKER_START_TIMEOUT_S = 120
CLUSTER_START_TIMEOUT_S = 900
"""Time for a job's workers to start on a cluster, where machines may have to boot first."""
MAX_TRIAL_NAME = 60
"""Most bytes of a job's label in the name of its trial, which also names a folder."""
POLL_S = 0.5
"""Seconds between two polls of the workers by Train's controller. A worker's report waits for the next poll."""


def run_patience() -> float:
    """Seconds that a run may show nothing new: its jobs may be silent, and their workers may start several times."""
    return 2 * least_patience() + start_timeout() * CONTROLLER_FAILURES


def start_timeout() -> float:
    """Seconds in which the workers of a job must have started."""
    return CLUSTER_START_TIMEOUT_S if joins_cluster() else WORKER_START_TIMEOUT_S


def declared_capacity(resources: Resources) -> Capacity:
    """The resources in the sweep; else this machine's cores and no GPU, or no limit before a cluster is joined."""
    unknown = math.inf if joins_cluster() else None
    cpus, gpus = resources.max_cpus, resources.max_gpus
    return Capacity(
        cpus=cpus if cpus is not None else unknown or os.cpu_count() or 1,
        gpus=gpus if gpus is not None else unknown or 0,
    )


def cluster_capacity(resources: Resources, present: Mapping[str, float]) -> Capacity:
    """The resources that the sweep declares, even if fewer are up now, since the cluster can scale up.

    For what the sweep does not declare, the resources that are up. If it declares GPUs, CPUs are not limited, since
    they come with the GPU machines.
    """
    declared = declared_capacity(resources)
    scales = resources.max_gpus is not None
    return Capacity(
        cpus=present.get("CPU", 0) if math.isinf(declared.cpus) and not scales else declared.cpus,
        gpus=present.get("GPU", 0) if math.isinf(declared.gpus) else declared.gpus,
    )


@contextmanager
def ray_session(resources: Resources, *, dashboard: bool, say: Callable[[str], None]) -> Iterator[Capacity]:
    """Start a local Ray, or join the cluster of RAY_ADDRESS. Yields the capacity that may be used.

    A cluster has its own dashboard, or none; a local Ray has one, for this machine alone, with ``dashboard``. ``say``
    gets the address of the one that there is.

    Raises BadInput if there is no such cluster.
    """
    capacity = declared_capacity(resources)
    # Ray keeps the command of its driver, where passwords would stay.
    ray._private.utils.get_entrypoint_name = lambda: shlex.join(["reskd", *without_secrets(sys.argv[1:])])
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # orchestrator.run.controller has its own
    variables = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_S),
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(start_timeout()),
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        CUBLAS_VARIABLE: CUBLAS_WORKSPACE,
        "PYTHONUTF8": "1",  # paths and files in UTF-8, whatever locale a node was started in
    }
    options: dict[str, Any] = {"runtime_env": {"env_vars": variables}, "log_to_driver": True}
    address = cluster_address()
    if address is not None:
        with _joined(address, options) as context:
            if context.dashboard_url:
                say(f"Ray's dashboard: http://{context.dashboard_url}")
            yield cluster_capacity(resources, ray.cluster_resources())
        return
    # Soft stops alone are used, so nothing needs the dashboard's State API to free placement groups.
    shown = None if dashboard else False  # True would end the run where it cannot start
    with own_ray(num_cpus=math.ceil(capacity.cpus), include_dashboard=shown, **options) as context, ExitStack() as kept:
        if context.dashboard_url:
            token = kept.enter_context(token_file())
            say(f"Ray's dashboard: http://{context.dashboard_url}, which asks for the token in {token}")
        yield capacity


@contextmanager
def _joined(address: str, options: dict[str, Any]) -> Iterator[Any]:
    """Connect to the cluster at the address. Yields what `ray.init` returns."""
    try:
        context = ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        raise BadInput(f"{VARIABLE} {address}: {first_line(error)}") from error
    try:
        yield context
    finally:
        ray.shutdown()


class _Errors(tune.Callback):
    """Tells the searcher why a trial ended with an error."""

    def __init__(self, searcher: GraphSearcher) -> None:
        self._searcher = searcher

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        error = trial.get_pickled_error()
        self._searcher.note_error(trial.trial_id, first_line(getattr(error, "cause", None) or error))


def trial_name(label: str, job_id: str) -> str:
    """A name for a trial that a person knows and that a file can have, such as
    `seed-0-baseline-and-3-more-job-112624a14af0`."""
    words = "".join(letter if letter.isalnum() or letter in "._@" else "-" for letter in label)
    short = re.sub("-+", "-", words).encode()[:MAX_TRIAL_NAME].decode(errors="ignore")
    return f"{short.strip('-.')}-{job_id}"


def _name(trial: Any) -> str:
    job: JobConfig = trial.config["job"]
    return trial_name(job.label, job.id)


def _folder(trial: Any) -> str:
    return f"{_name(trial)}-{trial.trial_id}"


def run_jobs(
    jobs: Sequence[Job],
    *,
    store: Store,
    owner_id: str,
    capacity: Capacity,
    configs: Mapping[str, JobConfig],
    on_change: Callable[[StateChange], None],
    should_stop: Callable[[], bool],
) -> dict[str, str]:
    """Run jobs in the order of their dependencies on the connected Ray.

    Returns the steps of the failed jobs, each with the error that ended its job's last trial; empty without one.

    If the process is interrupted, it returns early, with jobs that wait or run.
    """
    searcher = GraphSearcher(
        jobs, store=store, capacity=capacity, configs=configs, on_change=on_change, should_stop=should_stop
    )
    # No CPU: even a hundredth for the driver would block two one-CPU workers on two cores.
    on_head = tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
    tune.Tuner(
        tune.with_resources(JobTrial, on_head),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=sum(len(job.members) for job in jobs),  # a job may become several
            reuse_actors=True,  # so that a lane of workers serves job after job
            trial_name_creator=_name,
            trial_dirname_creator=_folder,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(store.ray_folder(owner_id)),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the store has the checkpoints
            callbacks=[_Errors(searcher)],
        ),
    ).fit()
    if all(searcher.states[job_id] == "done" for job_id in searcher.jobs):
        shutil.rmtree(store.ray_folder(owner_id), ignore_errors=True)
    failed = (job for job in searcher.jobs.values() if searcher.states[job.id] == "failed")
    return {step_id: searcher.reasons.get(job.id, "") for job in failed for step_id in job.members}
