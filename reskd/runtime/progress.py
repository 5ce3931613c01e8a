"""Tells a process that works from one that has died or hangs. A pool's processes write down what they do; the parent
also sees what the kernel counts for them, so that slow storage is not taken for a hang."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Literal

import psutil

STILL_S = 40.0
"""Seconds without any progress after which a process hangs: no frame, no item, and no byte read or written."""
STORAGE_S = 600.0
"""The same for a process that waits for storage (state D), or of which the kernel tells nothing."""
CHECK_S = 5.0
"""Seconds between two looks at a process that somebody waits for."""
NOWHERE = -1
PID, PLACE, TICKS = range(3)

State = Literal["works", "hangs", "died"]


class Logbook:
    """What each process of a pool is doing, in memory that it shares with its parent: three numbers a process."""

    def __init__(self, num_processes: int, *, context: BaseContext | None = None) -> None:
        self.num_processes = num_processes
        self._cells = (context or multiprocessing).RawArray("q", 3 * num_processes)

    def enter(self, process: int) -> None:
        """Called in process number ``process`` at its start. From now on, `note` and `tick` write for it."""
        self.write(process, PLACE, NOWHERE)
        self.write(process, PID, os.getpid())
        _own.append((self, process))

    def write(self, process: int, what: int, value: int) -> None:
        self._cells[3 * process + what] = value

    def pid(self, process: int) -> int:
        """0 until the process has entered."""
        return int(self._cells[3 * process + PID])

    def place(self, process: int) -> int:
        return int(self._cells[3 * process + PLACE])

    def ticks(self, process: int) -> int:
        return int(self._cells[3 * process + TICKS])


_own: list[tuple[Logbook, int]] = []
"""In a process of a pool: its logbook and its number there."""


def note(place: int) -> None:
    """Write down the number of the item that this process of a pool begins, or NOWHERE after it."""
    logbook, process = _own[-1]
    logbook.write(process, PLACE, place)
    tick()


def tick() -> None:
    """Say that this process makes progress, in a long loop. Nothing happens outside of a pool."""
    if _own:
        logbook, process = _own[-1]
        logbook.write(process, TICKS, logbook.ticks(process) + 1)


@dataclass(frozen=True, slots=True)
class Sign:
    """What can be seen of a process from outside."""

    ticks: int
    num_bytes: int | None
    """Bytes that it has read and written, from any kind of file. None if the kernel does not tell."""
    status: str
    """One of psutil's words."""


class Watch:
    """Judges a process that somebody waits for, from look to look."""

    def __init__(self, logbook: Logbook, process: int, *, still_s: float = STILL_S) -> None:
        self._logbook, self.process, self._still_s = logbook, process, still_s
        self._last = self._sign()
        self._since = time.monotonic()

    @property
    def still_for_s(self) -> float:
        return time.monotonic() - self._since

    @property
    def waits_for_storage(self) -> bool:
        """Whether at the last look the process was waiting for storage, as far as the kernel tells."""
        return _waits(self._last)

    def look(self) -> State:
        sign = self._sign()
        if sign is not None and sign.status == psutil.STATUS_ZOMBIE:
            return "died"
        if sign is None and self._logbook.pid(self.process):
            return "died"
        if sign is not None and self._last is not None and is_progress(self._last, sign):
            self._since = time.monotonic()
        self._last = sign
        return "hangs" if self.still_for_s > patience_s(sign, still_s=self._still_s) else "works"

    def _sign(self) -> Sign | None:
        """None if there is no such process, or not yet."""
        pid = self._logbook.pid(self.process)
        return sign_of(pid, ticks=self._logbook.ticks(self.process)) if pid else None


def sign_of(pid: int, *, ticks: int) -> Sign | None:
    try:
        process = psutil.Process(pid)
        status = process.status()
    except psutil.NoSuchProcess:
        return None
    try:
        counted = process.io_counters()
        return Sign(ticks, counted.read_chars + counted.write_chars, status)
    except (psutil.Error, OSError, AttributeError):  # a zombie, another user's process, or a system without counters
        return Sign(ticks, None, status)


def is_progress(before: Sign, after: Sign) -> bool:
    return before.ticks != after.ticks or before.num_bytes != after.num_bytes


def patience_s(sign: Sign | None, *, still_s: float) -> float:
    """How long a process may make no progress. A read that storage does not answer yet is not the process's fault."""
    return max(still_s, STORAGE_S) if _waits(sign) else still_s


def _waits(sign: Sign | None) -> bool:
    return sign is not None and (sign.status == psutil.STATUS_DISK_SLEEP or sign.num_bytes is None)
