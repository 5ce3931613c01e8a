"""Which process holds a lease, and whether it is still there as far as this machine can tell."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that may hold leases; `id` is unique, the rest says where to look for it."""

    id: str
    host: str
    space: str
    """Where `pid` means this process: the machine since its last boot, and the container."""
    pid: int
    started: str
    """When the process started, so that a younger one with its number is not taken for it."""

    @staticmethod
    def this_process() -> Owner:
        return Owner(uuid.uuid4().hex[:12], socket.gethostname(), _space(), os.getpid(), _started(os.getpid()))

    @property
    def is_visible(self) -> bool:
        """Whether this machine can tell if the process is there."""
        return self.space == _space()

    def is_gone(self) -> bool:
        """True only where the process is visible: it has ended, or its number belongs to another."""
        if not self.is_visible:
            return False
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE or _started(self.pid) != self.started
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _space() -> str:
    """Boot and process namespace on Linux, where containers share a host's name; else the host's name."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """Clock ticks since boot on Linux, which setting the clock does not change; else the time of day."""
    if Path("/proc/self/stat").exists():
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]  # field 22; the name before it may hold spaces
    return str(round(psutil.Process(pid).create_time()))
