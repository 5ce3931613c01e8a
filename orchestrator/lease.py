"""One lease file per step: who trains it now.

A lease is a small JSON file that is only changed under a file lock, so one of any number of takers wins, and a
taker that dies leaves no lock behind. Its owner, one `reskd run` process, raises its counter every few seconds.
It is taken over when that process is gone from this host, or when the counter stood still for STALE_S seconds of
the observer's own clock; clocks of two hosts are never compared.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.owner import Owner
from reskd.errors import BadInput
from reskd.files import read_json, write_atomic

logger = logging.getLogger(__name__)

BEAT_S = 5.0
STALE_S = 60.0


@dataclass(frozen=True, slots=True)
class Lease:
    owner: Owner
    counter: int
    since: float
    """Unix time at which the owner took it; for people, never compared."""

    def __str__(self) -> str:
        return str(self.owner)


def read_lease(path: Path) -> Lease | None:
    """The lease in a file, or None where there is none."""
    try:
        value = read_json(path)
    except BadInput:
        return None  # writes are atomic, so this is a disk's damage; the next taker replaces it
    if value is None:
        return None
    return Lease(Owner(**value["owner"]), value["counter"], value["since"])


def _dump(lease: Lease) -> str:
    return json.dumps(asdict(lease))


class StallWatch:
    """Which leases have stood still, by this process's own clock; plain data, since Tune pickles its searcher."""

    def __init__(self, stale_s: float = STALE_S) -> None:
        self.stale_s = stale_s
        self._seen: dict[str, tuple[str, int, float]] = {}

    def has_moved(self, path: Path, lease: Lease) -> bool:
        """Whether the counter rose since this watch first saw this owner's lease."""
        owner, counter, _ = self._seen.get(str(path), (lease.owner.id, lease.counter, 0.0))
        return owner == lease.owner.id and counter != lease.counter

    def is_stale(self, path: Path, lease: Lease) -> bool:
        """Whether the owner is gone, or its counter stood still for `stale_s` since it was first seen so."""
        if lease.owner.is_gone():
            return True
        now = time.monotonic()
        owner, counter, since = self._seen.get(str(path), ("", -1, now))
        if (owner, counter) != (lease.owner.id, lease.counter):
            self._seen[str(path)] = (lease.owner.id, lease.counter, now)
            return False
        return now - since > self.stale_s


class Leases:
    """The leases that this process holds, kept alive by one thread."""

    def __init__(self, owner: Owner | None = None, *, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> None:
        self.owner = owner or Owner.this_process()
        self.watch = StallWatch(stale_s)
        self._beat_s = beat_s
        self._held: dict[Path, Lease] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, path: Path) -> bool:
        """Take a lease if it is free, ours, or its owner is gone; False says that somebody else holds it."""
        with self._lock, _exclusive(path):
            present = read_lease(path)
            if present is not None and present.owner.id != self.owner.id and not self.watch.is_stale(path, present):
                return False
            self._held[path] = Lease(self.owner, 0, time.time())
            write_atomic(path, _dump(self._held[path]))
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
            self._thread.start()
        return True

    def _beat(self) -> None:
        while not self._stop.wait(self._beat_s):
            with self._lock:
                for path, lease in list(self._held.items()):
                    try:
                        self._raise_counter(path, lease)
                    except OSError as error:  # a full disk for a second must not cost the lease
                        logger.warning("%s: %s; trying again in %g s", path, error, self._beat_s)

    def _raise_counter(self, path: Path, lease: Lease) -> None:
        with _exclusive(path):
            present = read_lease(path)
            if present is None or present.owner.id != self.owner.id:
                del self._held[path]  # lost; the workers see it at their next write
                return
            self._held[path] = Lease(lease.owner, lease.counter + 1, lease.since)
            write_atomic(path, _dump(self._held[path]))

    def paths(self) -> tuple[Path, ...]:
        """The files of the leases held now."""
        with self._lock:
            return tuple(self._held)

    def release(self, paths: Iterable[Path] | None = None) -> None:
        """Give leases back: those named, or all of them and the thread."""
        with self._lock:
            for path in list(self._held) if paths is None else list(paths):
                if self._held.pop(path, None) is None or not path.parent.exists():
                    continue
                with _exclusive(path):
                    present = read_lease(path)
                    if present is not None and present.owner.id == self.owner.id:
                        path.unlink(missing_ok=True)
        if paths is None:
            self._stop.set()
            if self._thread is not None:
                self._thread.join()


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """One process and thread at a time for a lease file; the system frees the lock of one that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def leases(owner: Owner | None = None) -> Iterator[Leases]:
    """Leases that are all given back at the end, however it comes."""
    held = Leases(owner)
    try:
        yield held
    finally:
        held.release()
