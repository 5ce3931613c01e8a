"""Validation groups kept in memory: their crops are the same in every epoch, so decoding them once is enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from reskd.data.dataset import Group, Key

MEMORY_SHARE = 0.2
"""Of the memory that is free when a job starts, for all its workers together."""
CGROUP = Path("/sys/fs/cgroup")


class GroupCache:
    """The first groups of one pass over a split, as many as fit; the others are loaded in each pass.

    A group that is served is the one that was loaded, its damage too, so no pass differs from the first.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.num_bytes = 0
        self._groups: list[Group] = []
        self._batches: list[list[Key]] | None = None
        self._is_full = False

    def serve(self, batches: list[list[Key]], load: Callable[[list[list[Key]]], Iterator[Group]]) -> Iterator[Group]:
        """The groups of these batches, which must be the same in every call, in order."""
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
            self._is_full = True  # a smaller one that follows would leave a gap
            return
        self._groups.append(group.unpinned())
        self.num_bytes += group.num_bytes


def cache_limit(num_workers: int) -> int:
    """Bytes that one of so many workers may keep, if all of them were on this machine."""
    return int(MEMORY_SHARE * _free_bytes() / num_workers)


def _free_bytes() -> int:
    """Of the machine, or of the container where that has less."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - int(used)))
