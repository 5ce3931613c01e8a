"""Identifies the process that holds a lease, and says what this process can prove about it: it lives, it has ended, or
neither."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Fate = Literal["lives", "gone", "unknown"]
PROC = Path("/proc")
NOWHERE = "nowhere"
"""Space of a process that no other process can look for."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that may hold leases. `id` is unique; the other fields say where to look for the process."""

    id: str
    host: str
    space: str
    """The machine since its last boot, and the container: the place in which `pid` names this process."""
    pid: int
    started: str
    """Start time of the process. A later process with the same number has another one."""

    @staticmethod
    def this_process() -> Owner:
        pid = os.getpid()
        return Owner(uuid.uuid4().hex[:12], socket.gethostname(), _space(), pid, _started(pid) or "")

    def fate(self) -> Fate:
        """What this process can prove about the owner. Not to see it proves nothing.

        gone: the process would be here (same boot, same process namespace, same host's name), and the kernel has no
        process with its number, or another one, or one that has ended and is not yet collected. lives: it is here.
        unknown: it would be elsewhere, or this user may not look at it; then its counter must decide.
        """
        if self.space == NOWHERE or (self.space, self.host) != (_space(), socket.gethostname()):
            return "unknown"
        try:
            os.kill(self.pid, 0)  # the kernel's own answer: /proc hides other users' processes (hidepid) from ours
        except ProcessLookupError:
            return "gone"
        except OSError:
            pass  # it is another user's
        started = _started(self.pid)
        if started is None or not self.started:
            return "unknown"
        return "gone" if started != self.started or _has_ended(self.pid) else "lives"

    def is_gone(self) -> bool:
        """Whether it is proved that the process has ended."""
        return self.fate() == "gone"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _space() -> str:
    """Boot id, process namespace and time namespace, since containers of a machine may share one host's name.

    NOWHERE where /proc is missing, or belongs to another namespace than this process's number.
    """
    try:
        if os.readlink(PROC / "self") != str(os.getpid()):
            return NOWHERE
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        pids = os.readlink(PROC / "self/ns/pid")
    except OSError:
        return NOWHERE
    try:
        times = os.readlink(PROC / "self/ns/time")  # start times are counted from its own beginning
    except OSError:  # a kernel before 5.6
        return f"{boot} {pids}"
    return f"{boot} {pids} {times}"


def _stat(pid: int) -> list[str] | None:
    """Fields 3 and later of /proc/<pid>/stat; None if they cannot be read."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()  # field 2, the name, may hold spaces


def _started(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process, which setting the clock does not change; None if unseen."""
    fields = _stat(pid)
    return None if fields is None else fields[19]


def _has_ended(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] in ("Z", "X")
