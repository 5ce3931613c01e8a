"""Counts and names clips that do not decode, and remembers those at which a decoder crashes or hangs.

Too many damaged clips stop the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from reskd.data.dataset import Damage, VideoDataset
from reskd.data.manifest import Clip
from reskd.errors import TooManyDamaged
from reskd.runtime.workers import Workers

if TYPE_CHECKING:
    from reskd.checkpoint import Sink

logger = logging.getLogger(__name__)


class DamageLog:
    """The damaged clips found so far, by split. After each `share` all workers hold the same list."""

    def __init__(self, *, limit: float, num_clips: Mapping[str, int], workers: Workers) -> None:
        self.clips: set[tuple[str, Damage]] = set()
        self._limit, self._num_clips, self._workers = limit, num_clips, workers

    def share(self, split: str, found: Iterable[Damage]) -> None:
        """Send the damaged clips of this worker to all workers (a collective call).

        Raises TooManyDamaged with the list when the share of damaged clips is above the limit.
        """
        fresh = {(split, damage) for part in self._workers.gather(set(found)) for damage in part} - self.clips
        self.clips |= fresh
        if self._workers.is_first:
            for _, damage in sorted(fresh, key=lambda item: item[1].path):
                logger.warning("%s clip does not decode: %s: %s", split, damage.path, damage.reason)
        reasons = {damage.path: damage.reason for where, damage in self.clips if where == split}
        if len(reasons) > self._limit * self._num_clips[split]:
            listed = "\n".join(f"  {path}: {reason}" for path, reason in sorted(reasons.items()))
            raise TooManyDamaged(
                f"{len(reasons)} of {self._num_clips[split]} {split} clips do not decode, more than "
                f"data.max_damaged = {self._limit:g} allows; repair or remove them, or raise it:\n{listed}"
            )

    def to_list(self) -> list[list[str]]:
        """[split, path, reason] of each damaged clip, sorted."""
        return sorted([split, damage.path, damage.reason] for split, damage in self.clips)

    def add_list(self, clips: Iterable[Iterable[str]]) -> None:
        """Add the output of `to_list` from before a resume."""
        self.clips |= {(split, Damage(path, reason)) for split, path, reason in clips}


class LostClips:
    """The clips of one training's data sets at which the decoder crashes or hangs. They are never opened again.

    The store remembers a clip by its content and its decoder: after a repair, or with another decoder, it is tried
    again. A training reads these records at its start. What it finds itself, its workers tell each other at the end of
    an epoch. So what another job finds meanwhile changes nothing in a training that runs.
    """

    def __init__(self, datasets: Sequence[VideoDataset], *, sink: Sink, workers: Workers) -> None:
        self._datasets, self._sink, self._workers = datasets, sink, workers
        for dataset in datasets:
            dataset.on_lost = self._remember

    def begin(self) -> None:
        """Take over what the store remembers. A collective call."""
        known = self._workers.from_first(self._sink.lost_clips() if self._workers.is_first else {})
        for dataset in self._datasets:
            names = [name_of(clip, dataset.spec.decode) for clip in dataset.clips]
            dataset.lost |= {number: known[name] for number, name in enumerate(names) if name in known}

    def share(self) -> None:
        """Send what this worker has found to all workers. A collective call."""
        for part in self._workers.gather([dataset.lost for dataset in self._datasets]):
            for dataset, lost in zip(self._datasets, part, strict=True):
                dataset.lost |= lost

    def _remember(self, clip: Clip, reason: str) -> None:
        """Record a clip at once, since this training may end before it is shared. A store that fails is only logged."""
        backend = self._datasets[0].spec.decode
        record = {
            "path": clip.path,
            "reason": reason,
            "decode": backend,
            "found_ms": int(time.time() * 1000),
        }
        name = name_of(clip, backend)
        logger.warning(
            "%s is not opened again: %s; lost_clips/%s.json in the store remembers it", clip.path, reason, name
        )
        try:
            self._sink.lose_clip(name, record)
        except OSError as error:
            logger.warning("%s cannot be remembered as a clip that does not decode: %s", clip.path, error)


def name_of(clip: Clip, backend: str) -> str:
    """The name of a clip's record: content and decoder."""
    return f"{clip.digest}-{clip.size}-{backend}"
