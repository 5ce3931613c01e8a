"""One lease file per step says which run trains it now.

A lease is a small JSON file or object. It is changed by conditional writes only, so exactly one of several takers wins,
and a taker that dies leaves no lock behind. Its owner, a `reskd run` process, increases its counter every few seconds.
Another process takes it over if it is proved that the owner has ended, or if the counter has not changed for STALE_S
seconds on the observer's own clock. Clocks of two hosts are never compared. An owner whose store does not answer stops
by itself before that time is over.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TypedDict

from orchestrator.store.lease_owner import Owner
from reskd.blobs import Blobs
from reskd.errors import BadInput
from reskd.files import json_value, warn_once

logger = logging.getLogger(__name__)

BEAT_S = 5.0
STALE_S = 120.0
"""Enough for a store that takes 30 s for a beat's request, and as long for the observer's own."""
STOP_S = 20.0
"""An owner stops this long before its leases may be taken over, so that its workers have ended by then."""
MAX_BEATS = 64
"""Leases that are beaten at the same time, so that many leases on a slow store take no longer than one."""
REPLACED = "the next run that takes the step replaces it"
LOOK_S = 1.0
"""Seconds between two looks at a lease whose owner cannot be seen."""


@dataclass(frozen=True, slots=True)
class Lease:
    owner: Owner
    counter: int
    since: float
    """Unix time at which the owner took it. It is only displayed, never compared."""

    def __str__(self) -> str:
        return str(self.owner)


class _OwnerFile(TypedDict):
    id: str
    host: str
    space: str
    pid: int
    started: str


class _LeaseFile(TypedDict):
    owner: _OwnerFile
    counter: int
    since: float


@dataclass(frozen=True)
class LeaseBlob:
    """The place of a step's lease. Two places with equal keys are equal."""

    key: str
    blobs: Blobs = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.blobs.where(self.key)

    def update(self, decide: Callable[[Lease | None], Lease | None]) -> tuple[Lease | None, str | None]:
        """Replace the lease by ``decide(lease)``. Returns what is stored then, and its version, None for a new blob.

        If another process changes the lease in between, everything is repeated with the new lease (compare and swap).
        """
        while True:
            content, version = self.blobs.read_version(self.key)
            present = _lease(content, where=str(self))
            wanted = decide(present)
            if wanted == present:
                return wanted, version
            if version is None:
                if self.blobs.create(self.key, _bytes(wanted)):
                    return wanted, None
            elif (written := self.blobs.replace(self.key, _bytes(wanted), version)) is not None:
                return wanted, written

    def replace(self, lease: Lease, version: str) -> str | None:
        """Replace the lease whose version is known, in one request. Returns the new version; None if another process
        has changed it."""
        return self.blobs.replace(self.key, _bytes(lease), version)


def _bytes(lease: Lease | None) -> bytes:
    # A returned lease stays as null, since not every server supports a condition on a deletion.
    return json.dumps(None if lease is None else asdict(lease)).encode()


def read_lease(place: LeaseBlob) -> Lease | None:
    """The lease at this place; None if there is none."""
    return _lease(place.blobs.read(place.key), where=str(place))


def _lease(content: bytes | None, *, where: str) -> Lease | None:
    try:
        value = (
            None
            if content is None
            else json_value(content, where=where, what="a lease", shape=_LeaseFile | None, way_out=REPLACED)
        )
    except BadInput as error:  # writes are atomic, so the disk is damaged
        warn_once(str(error))
        return None
    if value is None:
        return None
    owner = {name: value["owner"][name] for name in _OwnerFile.__annotations__}
    return Lease(Owner(**owner), value["counter"], value["since"])


class StallWatch:
    """Observes which counters do not change, on this process's clock. It holds plain data only, since Tune pickles
    it."""

    def __init__(self, stale_s: float = STALE_S) -> None:
        self.stale_s = stale_s
        self._seen: dict[str, tuple[str, int, float]] = {}

    def has_moved(self, path: LeaseBlob, lease: Lease) -> bool:
        """Whether the counter has changed since this watch first saw the lease with this owner."""
        owner, counter, _ = self._seen.get(str(path), (lease.owner.id, lease.counter, 0.0))
        return owner == lease.owner.id and counter != lease.counter

    def is_stale(self, path: LeaseBlob, lease: Lease) -> bool:
        """Whether the owner has provably ended, or the counter has not changed for `stale_s` seconds."""
        if lease.owner.is_gone():
            return True
        now = time.monotonic()
        owner, counter, since = self._seen.get(str(path), ("", -1, now))
        if (owner, counter) != (lease.owner.id, lease.counter):
            self._seen[str(path)] = (lease.owner.id, lease.counter, now)
            return False
        return now - since > self.stale_s


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease that is held. ``asked``: when the last write of it that succeeded began, on this process's clock."""

    lease: Lease
    asked: float
    version: str | None
    """The blob's version since that write; None if it is not known."""


class Leases:
    """The leases that this process holds. One thread keeps them alive, several at a time."""

    def __init__(self, owner: Owner | None = None, *, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> None:
        self.owner = owner or Owner.this_process()
        self.watch = StallWatch(stale_s)
        self._beat_s = beat_s
        self._counters = itertools.count()
        """No counter is written twice, also where a lease was lost meanwhile: the same one would look like silence."""
        self._held: dict[LeaseBlob, _Held] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, path: LeaseBlob) -> bool:
        """Take a lease if it is free or ours, or its owner is gone. Returns False if somebody else holds it."""
        now = time.time()

        def decide(present: Lease | None) -> Lease:
            if present is None or (present.owner.id != self.owner.id and self.watch.is_stale(path, present)):
                return Lease(self.owner, next(self._counters), now)
            is_ours = present.owner.id == self.owner.id
            return Lease(self.owner, next(self._counters), present.since) if is_ours else present

        asked = time.monotonic()
        stored, version = path.update(decide)
        if stored is None or stored.owner.id != self.owner.id:
            with self._lock:
                self._held.pop(path, None)
            return False
        with self._lock:
            self._held[path] = _Held(stored, asked, version)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
                self._thread.start()
        return True

    def take_when_still(self, path: LeaseBlob) -> bool:
        """`take`, and if that fails and the owner cannot be seen, wait until it is known whether it raises the counter.

        Returns False if the owner lives, or as soon as the counter moves. Else the lease is taken after at most the
        stale time.
        """
        first: Lease | None = None
        while not self.take(path):
            present = read_lease(path)
            first = first or present
            if present is not None and (present != first or present.owner.fate() == "lives"):
                return False
            time.sleep(min(LOOK_S, self.watch.stale_s / 4))
        return True

    def silent_s(self) -> float:
        """Seconds since the store last took a beat, for the lease where that is longest; 0 without leases."""
        with self._lock:
            return max((time.monotonic() - held.asked for held in self._held.values()), default=0.0)

    @property
    def must_stop(self) -> bool:
        """Whether another process may soon take a lease over, because the store has taken no beat for so long."""
        return self.silent_s() > max(self.watch.stale_s - STOP_S, self.watch.stale_s / 2)

    def _beat(self) -> None:
        with ThreadPoolExecutor(MAX_BEATS, thread_name_prefix="lease") as pool:
            while not self._stop.wait(self._beat_s):
                for _ in pool.map(self._raise_counter, self.paths()):
                    pass

    def _raise_counter(self, path: LeaseBlob) -> None:
        with self._lock:
            held = self._held.get(path)
        if held is None:
            return
        raised = Lease(held.lease.owner, next(self._counters), held.lease.since)

        def decide(present: Lease | None) -> Lease | None:
            is_ours = present is not None and present.owner.id == self.owner.id and path in self._held
            return raised if is_ours else present

        asked = time.monotonic()
        try:
            # One request where that is enough: a slow store may take half a minute for each.
            stored: Lease | None = raised
            version = path.replace(raised, held.version) if held.version is not None else None
            if version is None:
                stored, version = path.update(decide)
        except OSError as error:  # a full disk for a second must not cost the lease
            logger.warning("%s: %s; trying again in %g s", path, error, self._beat_s)
            return
        with self._lock:
            if path not in self._held:
                return  # given back meanwhile
            if stored == raised:
                self._held[path] = _Held(raised, asked, version)
            else:
                del self._held[path]  # lost; the workers see it within seconds

    def paths(self) -> tuple[LeaseBlob, ...]:
        """The places of the leases that are held now."""
        with self._lock:
            return tuple(self._held)

    def release(self, paths: Iterable[LeaseBlob] | None = None) -> None:
        """Give these leases back; None: give all back and stop the thread.

        One that the store does not take back now is left as it is: it goes stale.
        """
        with self._lock:
            given = [path for path in (list(self._held) if paths is None else list(paths)) if path in self._held]
            for path in given:
                del self._held[path]
        if paths is None:
            self._stop.set()
            if self._thread is not None:
                self._thread.join()
        if given:
            with ThreadPoolExecutor(min(MAX_BEATS, len(given))) as pool:
                for _ in pool.map(self._give_back, given):
                    pass

    def _give_back(self, path: LeaseBlob) -> None:
        try:
            path.update(self._without_ours)
        except OSError as error:
            logger.warning("%s: %s; this lease is not given back, it is free after %g s", path, error, STALE_S)

    def _without_ours(self, present: Lease | None) -> Lease | None:
        return None if present is not None and present.owner.id == self.owner.id else present


@contextlib.contextmanager
def leases(owner: Owner | None = None) -> Iterator[Leases]:
    """Yield leases that are all given back at the end, also after an exception."""
    held = Leases(owner)
    try:
        yield held
    finally:
        held.release()
