"""Loads groups of clips for one worker, in its own loader processes if it has any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch

from reskd.data.dataset import Group, Key, VideoDataset
from reskd.data.sampling import epoch_order, step_groups
from reskd.data.val_cache import GroupCache
from reskd.errors import BadInput
from reskd.runtime.loader_processes import LoaderProcesses
from reskd.runtime.progress import STILL_S

STEPS_AHEAD = 2
"""Number of whole steps that the loader processes of a worker keep ready."""


class EpochLoader:
    """Loads one epoch after another. Loader processes of the next epoch can start early.

    ``load`` returns the groups of an epoch, as `train_groups` does.
    """

    def __init__(self, load: Callable[[int], Iterator[list[Group]]]) -> None:
        self._load = load
        self._ahead: tuple[int, Iterator[list[Group]]] | None = None

    def prepare(self, epoch: int) -> None:
        """Start the loader processes of this epoch, so that they decode its first steps in advance."""
        self._ahead = (epoch, self._load(epoch))

    def groups(self, epoch: int) -> Iterator[list[Group]]:
        """This worker's groups, one list per step."""
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead is not None and ahead[0] == epoch else self._load(epoch)


def train_groups(
    dataset: VideoDataset,
    *,
    epoch: int,
    batch_size: int,
    group_size: int,
    rank: int,
    world_size: int,
    loader_workers: int,
    keep_last: bool = False,
    still_s: float = STILL_S,
) -> Iterator[list[Group]]:
    """This worker's groups of the global batch, one list per step of the epoch, in the order of their positions.

    A batch of ``batch_size`` clips is cut into G groups by position. Rank r of W workers gets the groups from r*G/W up
    to, but not including, (r+1)*G/W. An incomplete last batch is dropped, or with ``keep_last`` shared evenly by
    smaller groups. Raises BadInput if batch, groups and workers do not divide evenly, and LoaderLost if a loader
    process dies, or makes no progress for ``still_s`` seconds.
    """
    num_groups = batch_size // group_size
    if num_groups * group_size != batch_size or num_groups % world_size:
        raise BadInput(
            f"optim.batch_size {batch_size} / optim.group_size {group_size} must be a whole number of groups that "
            f"{world_size} workers share evenly; change one of the three"
        )
    share = num_groups // world_size
    order = epoch_order(len(dataset), data_seed=dataset.data_seed, epoch=epoch)
    parts = step_groups(order, batch_size=batch_size, num_groups=num_groups, keep_last=keep_last)
    mine = range(rank * share, (rank + 1) * share)
    batches = [[(epoch, sample) for sample in part] for number, part in enumerate(parts) if number % num_groups in mine]
    num_ahead = STEPS_AHEAD * share
    groups = _load(dataset, batches, loader_workers=loader_workers, still_s=still_s, num_ahead=num_ahead)
    return _in_lists(groups, share)


def val_groups(
    dataset: VideoDataset,
    *,
    batch_size: int,
    rank: int,
    world_size: int,
    loader_workers: int,
    cache: GroupCache | None = None,
    still_s: float = STILL_S,
) -> Iterator[Group]:
    """Each clip of the split once over all workers, without padding: rank r of W reads clips r, r + W, ...

    ``Group.indices`` holds their numbers. Damaged clips are left out; a group with only damaged clips is empty but
    still names the damage. ``cache`` belongs to exactly this pass; groups in it are not decoded again.
    """
    samples = range(rank, len(dataset), world_size)
    batches = [
        [(0, sample) for sample in samples[first : first + batch_size]] for first in range(0, len(samples), batch_size)
    ]
    load = partial(_load, dataset, loader_workers=loader_workers, still_s=still_s)
    return load(batches) if cache is None else cache.serve(batches, load)


def _load(
    dataset: VideoDataset, batches: list[list[Key]], *, loader_workers: int, still_s: float, num_ahead: int = 0
) -> Iterator[Group]:
    """``num_ahead``: groups that all loader processes together keep ready. Each process keeps at least two."""
    if not loader_workers:
        return _here(dataset, batches)
    prefetch = max(2, math.ceil(num_ahead / loader_workers))
    return LoaderProcesses(dataset, batches, num_processes=loader_workers, prefetch=prefetch, still_s=still_s)


def _here(dataset: VideoDataset, batches: list[list[Key]]) -> Iterator[Group]:
    for batch in batches:
        group = dataset.collate([dataset[key] for key in batch])
        yield group.pin_memory() if torch.cuda.is_available() else group


def _in_lists(groups: Iterator[Group], length: int) -> Iterator[list[Group]]:
    together: list[Group] = []
    for group in groups:
        together.append(group)
        if len(together) == length:
            yield together
            together = []
