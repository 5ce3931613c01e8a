"""The process group of the workers of a lane. TorchConfig does the same, but loads torch into each trial too."""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import asdict, dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import psutil
import ray
import ray.train
from ray.exceptions import GetTimeoutError
from ray.train.backend import Backend, BackendConfig

logger = logging.getLogger(__name__)

COLLECTIVE_TIMEOUT_S = 1800
LEAVE_TIMEOUT_S = 30
MAX_WAITING = 1024
"""Most connections that wait at the port of the group's meeting: those of all workers, which come at once."""

_meeting: socket.socket | None = None
"""The open port of this worker's group, until torch has it."""

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
        address, port = worker_group.execute_single(0, listen)
        ray.get(worker_group.execute_async(join, backend_config.backend, address, port))

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        try:
            ray.get(worker_group.execute_async(leave), timeout=LEAVE_TIMEOUT_S)
        except GetTimeoutError:
            logger.warning("workers did not leave their process group within %d s", LEAVE_TIMEOUT_S)


def listen() -> tuple[str, int]:
    """Open the port at which this worker, rank 0, will serve the group's meeting. Returns address and port.

    It is open at the address of the worker's node alone. The port that torch itself would open is open at every one.
    """
    global _meeting
    address = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    _meeting = socket.create_server((address, 0), family=family, backlog=MAX_WAITING)
    return address, _meeting.getsockname()[1]


def join(backend: str, address: str, port: int) -> None:
    """Make this worker a member of the group, which rank 0 serves at the address."""
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    context = ray.train.get_context()
    rank, num_workers = context.get_world_rank(), context.get_world_size()
    os.environ.update(
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
        RANK=str(rank),
        WORLD_SIZE=str(num_workers),
        LOCAL_RANK=str(context.get_local_rank()),
        LOCAL_WORLD_SIZE=str(context.get_local_world_size()),
    )
    os.environ.update(loopback_alone(address))
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=COLLECTIVE_TIMEOUT_S)
    store = meeting(address, port, num_workers=num_workers, is_first=rank == 0, timeout=timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=num_workers, timeout=timeout)


def meeting(address: str, port: int, *, num_workers: int, is_first: bool, timeout: timedelta) -> Any:
    """The store in which the group's workers find each other; the first one serves it at the port of `listen`."""
    import torch.distributed as dist

    descriptor = _meeting.detach() if is_first and _meeting is not None else None  # torch closes it
    tcp_store = dist.TCPStore  # type: ignore[attr-defined]  # annotated only where torch defines it
    return tcp_store(address, port, num_workers, is_first, timeout, master_listen_fd=descriptor)


def loopback_alone(address: str) -> dict[str, str]:
    """The variables that keep the group's own connections on loopback, if the group meets there; else none.

    gloo and nccl would take the interface of the machine's name, or its first one.
    """
    found = [name for name, of in psutil.net_if_addrs().items() if any(one.address == address for one in of)]
    if not ip_address(address).is_loopback or not found:
        return {}
    return {"GLOO_SOCKET_IFNAME": found[0], "NCCL_SOCKET_IFNAME": f"={found[0]}"}


def leave() -> None:
    """End this worker's membership, unless its job still trains. Either way Ray ends the process next."""
    import torch.distributed as dist

    if in_use.acquire(blocking=False) and dist.is_initialized():
        dist.destroy_process_group()
