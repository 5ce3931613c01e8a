"""The data-parallel workers of one job, as one of them sees them. Several workers use torch.distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

CPU = torch.device("cpu")


class _Finished:
    """The handle of a sum over one worker, which is already complete."""

    def wait(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Workers:
    """This worker's rank among `world_size` synchronous workers. The default is a single worker."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def start_sum(self, vector: Tensor) -> dist.Work | _Finished:
        """Start to sum a vector over all workers, in place. Call wait() on the result before reading the vector."""
        if self.world_size == 1:
            return _Finished()
        work = dist.all_reduce(vector, async_op=True)
        assert work is not None
        return work

    def gather(self, value: T) -> list[T]:
        """The values of all workers, in order of rank. A collective call."""
        if self.world_size == 1:
            return [value]
        values: list[T | None] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def from_first(self, value: T) -> T:
        """The value of rank 0. A collective call."""
        if self.world_size == 1:
            return value
        box: list[T] = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def joined(device: torch.device | None = None) -> Workers:
    """The workers of the process group that torchrun or Ray made, or a single worker without one."""
    device = device or CPU
    if not (dist.is_available() and dist.is_initialized()):
        return Workers(device=device)
    return Workers(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device)
