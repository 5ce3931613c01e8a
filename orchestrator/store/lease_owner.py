"""Identifies the process that holds a lease, and checks whether this machine can see that it still exists."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil


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
        return Owner(uuid.uuid4().hex[:12], socket.gethostname(), _space(), os.getpid(), _started(os.getpid()))

    @property
    def is_visible(self) -> bool:
        """Whether this machine can tell if the process exists."""
        return self.space == _space()

    def is_gone(self) -> bool:
        """Whether the process is visible and has ended, or its number now belongs to another process."""
        if not self.is_visible:
            return False
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE or _started(self.pid) != self.started
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _space() -> str:
    """On Linux, boot id and process namespace, since containers share a host's name; elsewhere the host's name."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """On Linux, clock ticks since boot, which setting the clock does not change; elsewhere the time of day."""
    if Path("/proc/self/stat").exists():
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]  # field 22; the name before it may hold spaces
    return str(round(psutil.Process(pid).create_time()))
