"""Keeps validation groups in memory. Their crops are the same in every epoch, so one decode is enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from reskd.data.dataset import Group, Key

MEMORY_SHARE = 0.2
"""Share of the free memory at a job's start that all its workers together may use."""
CGROUP = Path("/sys/fs/cgroup")


class GroupCache:
    """Caches the first groups of a pass over a split, as many as fit. The others are loaded again in each pass.

    A cached group is exactly the loaded one, including its damage, so all passes give the same groups.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.num_bytes = 0
        self._groups: list[Group] = []
        self._batches: list[list[Key]] | None = None
        self._is_full = False

    def serve(self, batches: list[list[Key]], load: Callable[[list[list[Key]]], Iterator[Group]]) -> Iterator[Group]:
        """The groups of these batches, in order. The batches must be the same in every call."""
        assert self._batches in (None, batches), "one cache serves one pass"
        self._batches = batches
        kept = tuple(self._groups)
        yield from kept
        if len(kept) == len(batches):
            return
        for place, group in enumerate(load(batches[len(kept) :]), start=len(kept)):
            self._keep(place, group)
            yield group

    def _keep(self, place: int, group: Group) -> None:
        if self._is_full or place != len(self._groups):
            return
        if self.num_bytes + group.num_bytes > self.limit_bytes:
            self._is_full = True  # the cache must hold the first groups without a gap
            return
        self._groups.append(group.unpinned())
        self.num_bytes += group.num_bytes


def cache_limit(num_workers: int) -> int:
    """Bytes that one worker may cache, if all ``num_workers`` were on this machine."""
    return int(MEMORY_SHARE * _free_bytes() / num_workers)


def _free_bytes() -> int:
    """Free memory in bytes: of the machine, or of the container if that has less."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((CGROUP / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - int(used)))
