"""`reskd data pack --address`: packs on a Ray cluster, one task per video."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray

from orchestrator.run.own_ray import own_ray
from orchestrator.run.ray_address import LOCAL, settled_address
from orchestrator.tracking.settings import first_line
from reskd.data.pack import Job, PackAll, Packed, pack_alone
from reskd.data.pack_record import PackSettings, read_settings
from reskd.errors import BadInput

TASKS_PER_CPU = 2
"""Number of tasks per CPU that are submitted at a time: one runs, one waits. So an error ends the packing soon."""
MAX_RETRIES = 2
"""How often a task is repeated when its process or machine dies, since the video may be the cause."""


@contextmanager
def ray_packing(address: str, target: Path) -> Iterator[PackAll]:
    """The function with which `pack` shares videos out over the cluster at ``address``.

    `local`: a new Ray on this machine.

    Raises BadInput if there is no cluster.
    """
    address = settled_address(address, where="--address", from_outside=True)
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONUTF8": "1"}},  # names of videos in UTF-8, whatever a node's locale is
        "log_to_driver": False,
    }
    with ExitStack() as connected:
        try:
            if address == LOCAL:
                connected.enter_context(own_ray(include_dashboard=False, **options))
            else:
                ray.init(address=address, **options)
                connected.callback(ray.shutdown)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
            raise BadInput(f"--address {address}: {first_line(error)}") from error
        yield partial(_pack_all, target=target)


def _pack_all(jobs: Sequence[Job], settings: PackSettings, *, target: Path) -> Iterator[tuple[Job, Packed]]:
    """Yield each video with its result, in order of completion."""
    task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_pack_there)
    waiting, running = iter(jobs), dict[ray.ObjectRef, Job]()
    while True:
        most = TASKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))  # the cluster may grow
        while len(running) < most and (job := next(waiting, None)) is not None:
            running[task.remote(job, settings, target)] = job
        if not running:
            return
        (done,), _ = ray.wait(list(running), num_returns=1)
        yield running.pop(done), _result(done)


def _result(done: ray.ObjectRef) -> Packed:
    try:
        packed: Packed = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error  # raise an error of the task here
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return Packed(None, "its process died")
    return packed


def _pack_there(job: Job, settings: PackSettings, target: Path) -> Packed:
    if read_settings(target) != settings:
        raise BadInput(
            f"{target}: machine {os.uname().nodename} of the cluster cannot see the pack that was begun there; name "
            "a folder on storage that all machines share"
        )
    return pack_alone(job, settings)
