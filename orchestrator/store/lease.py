"""One lease file per step: who trains it now.

A lease is a small JSON file that is only changed under a file lock, so one of any number of takers wins, and a
taker that dies leaves no lock behind; in an object store it is an object, changed by conditional writes alone. Its
owner, one `reskd run` process, raises its counter every few seconds.
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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.store.lease_owner import Owner
from reskd.errors import BadInput
from reskd.files import Json, read_json, write_atomic

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


class LeaseObject(Protocol):
    """A lease's place in an object store: equal for one step, its text names it."""

    def read(self) -> Json | None: ...
    def update(self, decide: Callable[[Json | None], Json | None]) -> Json | None:
        """Make of the present value what `decide` says, asking it again if another writer came between."""
        ...


LeasePlace = Path | LeaseObject


def read_lease(place: LeasePlace) -> Lease | None:
    """The lease in a file or object, or None where there is none."""
    try:
        return _lease(read_json(place) if isinstance(place, Path) else place.read())
    except BadInput:
        return None  # writes are atomic, so this is a disk's damage; the next taker replaces it


def _lease(value: Json | None) -> Lease | None:
    if value is None:
        return None
    return Lease(Owner(**value["owner"]), value["counter"], value["since"])


def _update(place: LeasePlace, decide: Callable[[Lease | None], Lease | None]) -> Lease | None:
    """Make of the present lease what `decide` says, in one act that nobody else comes into; what is there then."""
    if not isinstance(place, Path):

        def decide_plain(value: Json | None) -> Json | None:
            wanted = decide(_lease(value))
            return None if wanted is None else asdict(wanted)

        return _lease(place.update(decide_plain))
    with _exclusive(place):
        present = read_lease(place)
        wanted = decide(present)
        if wanted is None:
            place.unlink(missing_ok=True)
        elif wanted is not present:
            write_atomic(place, json.dumps(asdict(wanted)))
    return wanted


class StallWatch:
    """Which leases have stood still, by this process's own clock; plain data, since Tune pickles its searcher."""

    def __init__(self, stale_s: float = STALE_S) -> None:
        self.stale_s = stale_s
        self._seen: dict[str, tuple[str, int, float]] = {}

    def has_moved(self, path: LeasePlace, lease: Lease) -> bool:
        """Whether the counter rose since this watch first saw this owner's lease."""
        owner, counter, _ = self._seen.get(str(path), (lease.owner.id, lease.counter, 0.0))
        return owner == lease.owner.id and counter != lease.counter

    def is_stale(self, path: LeasePlace, lease: Lease) -> bool:
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
        self._held: dict[LeasePlace, Lease] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, path: LeasePlace) -> bool:
        """Take a lease if it is free, ours, or its owner is gone; False says that somebody else holds it."""
        ours = Lease(self.owner, 0, time.time())

        def decide(present: Lease | None) -> Lease:
            is_theirs = present is not None and present.owner.id != self.owner.id
            return present if present is not None and is_theirs and not self.watch.is_stale(path, present) else ours

        with self._lock:
            if _update(path, decide) != ours:
                return False
            self._held[path] = ours
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

    def _raise_counter(self, path: LeasePlace, lease: Lease) -> None:
        raised = Lease(lease.owner, lease.counter + 1, lease.since)

        def decide(present: Lease | None) -> Lease | None:
            return raised if present is not None and present.owner.id == self.owner.id else present

        if _update(path, decide) == raised:
            self._held[path] = raised
        else:
            del self._held[path]  # lost; the workers see it at their next write

    def paths(self) -> tuple[LeasePlace, ...]:
        """The places of the leases held now."""
        with self._lock:
            return tuple(self._held)

    def release(self, paths: Iterable[LeasePlace] | None = None) -> None:
        """Give leases back: those named, or all of them and the thread."""
        with self._lock:
            for path in list(self._held) if paths is None else list(paths):
                is_removed = isinstance(path, Path) and not path.parent.exists()
                if self._held.pop(path, None) is not None and not is_removed:
                    _update(path, self._without_ours)
        if paths is None:
            self._stop.set()
            if self._thread is not None:
                self._thread.join()

    def _without_ours(self, present: Lease | None) -> Lease | None:
        return None if present is not None and present.owner.id == self.owner.id else present


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
