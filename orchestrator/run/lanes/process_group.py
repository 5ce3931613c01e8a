"""The process group of the workers of a lane. TorchConfig does the same, but loads torch into each trial too."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import ray
import ray.train
from ray.exceptions import GetTimeoutError
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

logger = logging.getLogger(__name__)

COLLECTIVE_TIMEOUT_S = 1800
LEAVE_TIMEOUT_S = 30

in_use = threading.Lock()
"""A worker's job holds it while it trains, and whoever ends the group holds it for good.

Train ends the group also where a worker or the whole run was killed in the middle of a job. If the group went from
under the other workers' training, they would take the error for the job's own.
"""


@dataclass
class ProcessGroup(BackendConfig):
    """Train's config of the torch.distributed group; ``backend`` is gloo or nccl."""

    backend: str

    @property
    def backend_cls(self) -> type[Backend]:
        return ProcessGroupBackend

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ProcessGroupBackend(Backend):
    """Starts and ends the group on every worker. It runs in the trial's process, where there is no torch."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        assert isinstance(backend_config, ProcessGroup)
        address, port = worker_group.execute_single(0, get_address_and_port)
        ray.get(worker_group.execute_async(join, backend_config.backend, address, port))

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        try:
            ray.get(worker_group.execute_async(leave), timeout=LEAVE_TIMEOUT_S)
        except GetTimeoutError:
            logger.warning("workers did not leave their process group within %d s", LEAVE_TIMEOUT_S)


def join(backend: str, address: str, port: int) -> None:
    """Make this worker a member of the group, which rank 0 serves at the address."""
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    context = ray.train.get_context()
    os.environ.update(
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
        RANK=str(context.get_world_rank()),
        WORLD_SIZE=str(context.get_world_size()),
        LOCAL_RANK=str(context.get_local_rank()),
        LOCAL_WORLD_SIZE=str(context.get_local_world_size()),
    )
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method="env://", timeout=timedelta(seconds=COLLECTIVE_TIMEOUT_S))


def leave() -> None:
    """End this worker's membership, unless its job still trains. Either way Ray ends the process next."""
    import torch.distributed as dist

    if in_use.acquire(blocking=False) and dist.is_initialized():
        dist.destroy_process_group()
