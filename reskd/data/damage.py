"""Counts and names clips that do not decode. Too many of them stop the run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from reskd.data.dataset import Damage
from reskd.errors import TooManyDamaged
from reskd.runtime.workers import Workers

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
