"""Which clips of a data set do not decode: counted, named, and too many of them stop the run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from reskd.data.dataset import Damage
from reskd.errors import TooManyDamaged
from reskd.runtime.workers import Workers

logger = logging.getLogger(__name__)


class DamageLog:
    """The damaged clips met so far, by split; the same on every worker after each `share`."""

    def __init__(self, *, limit: float, num_clips: Mapping[str, int], workers: Workers) -> None:
        self.clips: set[tuple[str, Damage]] = set()
        self._limit, self._num_clips, self._workers = limit, num_clips, workers

    def share(self, split: str, found: Iterable[Damage]) -> None:
        """Tell every worker what this one met; a collective. TooManyDamaged with the list past the limit."""
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
                f"data.max_damaged = {self._limit:g} allows; mend or remove them, or raise it:\n{listed}"
            )

    def to_list(self) -> list[list[str]]:
        """Split, path and reason of each, in one order."""
        return sorted([split, damage.path, damage.reason] for split, damage in self.clips)

    def add_list(self, clips: Iterable[Iterable[str]]) -> None:
        """What `to_list` gave before a resume."""
        self.clips |= {(split, Damage(path, reason)) for split, path, reason in clips}
