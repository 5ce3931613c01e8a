"""How long a job may show nothing new before its workers count as hanging."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from reskd.errors import BadInput

VARIABLE = "RESKD_STALL_S"
LEAST_S = 720.0
"""More than any wait inside a training that has a limit of its own, of which the longest is 10 minutes, for a read that
storage does not answer (`reskd.runtime.progress`)."""
SHARE = 10
"""A job may be silent for this many times its longest silence so far: a step of one hour is no hang where another took
as long."""


def least_patience() -> float:
    """Seconds that each job may show nothing new, by the environment variable or the default."""
    given = os.environ.get(VARIABLE, "")
    try:
        seconds = float(given) if given else LEAST_S
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < float("inf"):
        raise BadInput(f"{VARIABLE}={given!r}: expected seconds, at least 1; the default is {LEAST_S:g}")
    return seconds


class Patience:
    """Watches what a job shows. ``least_s``: seconds without anything new that are always allowed."""

    def __init__(self, least_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._least_s, self._clock = least_s, clock
        self._longest = 0.0
        self._word: object = None
        self._since = clock()

    @property
    def bound_s(self) -> float:
        """Seconds of silence that are allowed now."""
        return max(self._least_s, SHARE * self._longest)

    def excuse(self) -> None:
        """The job could show nothing until now: its workers start, or the store does not answer."""
        self._since = self._clock()

    def is_over(self, word: object) -> bool:
        """Whether the job has shown the same word, its newest one, for longer than the bound."""
        now = self._clock()
        if word != self._word:
            if self._word is not None:
                self._longest = max(self._longest, now - self._since)
            self._word, self._since = word, now
        return now - self._since > self.bound_s
