"""Watches, beside a job's training, whether its run still holds the leases on its steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from orchestrator.store.lease import STALE_S, STOP_S, read_lease
from orchestrator.store.store import LeasedStore
from reskd.errors import LeaseLost

EVERY_S = 2.0
SILENT_S = 70.0
"""A store is silent when its last answer to a read belongs to a read that began this long ago; one that takes 30 s for
each answer is not."""
MAX_READS = 16
"""Leases that are read at the same time."""


class LeaseWatch:
    """Call `check` at each training step: it raises LeaseLost soon after a lease is lost, or may be.

    The training waits for no read. A lease also counts as lost where the store does not answer for so long that another
    run may take it.
    """

    def __init__(
        self,
        store: LeasedStore,
        step_ids: Sequence[str],
        *,
        every_s: float = EVERY_S,
        stale_s: float = STALE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner_id = store.owner_id
        self._places = {step_id: store.lease_path(step_id) for step_id in step_ids}
        self._every_s, self._limit_s, self._clock = every_s, stale_s - STOP_S, clock
        self._counters: dict[str, int] = {}
        self._answered = dict.fromkeys(step_ids, clock())
        """When the last read of a lease that the store answered began."""
        self._moved = dict.fromkeys(step_ids, clock())
        """The earliest moment at which another process may have seen a lease's counter move last."""
        self._lost: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lease watch", daemon=True)

    def check(self) -> None:
        """Raise LeaseLost if the run no longer holds every lease, or if nobody can know any more whether it does."""
        if self._lost is None:
            now = self._clock()
            silent = [step_id for step_id, asked in self._answered.items() if now - asked > SILENT_S]
            late = [step_id for step_id in silent if now - self._moved[step_id] > self._limit_s]
            if late:
                self._lost = (
                    f"step {late[0]}: the store has not answered for {now - self._answered[late[0]]:.0f} s, so that "
                    f"another run may take the step over"
                )
        if self._lost is not None:
            raise LeaseLost(self._lost)

    def __enter__(self) -> LeaseWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()  # not joined: a read may take a minute, and changes nothing any more

    def _loop(self) -> None:
        with ThreadPoolExecutor(min(MAX_READS, len(self._places))) as pool:
            while not self._stop.wait(self._every_s) and self._lost is None:
                list(pool.map(self._look, self._places))

    def _look(self, step_id: str) -> None:
        asked = self._clock()
        try:
            lease = read_lease(self._places[step_id])
        except OSError:
            return
        if lease is None or lease.owner.id != self._owner_id:
            by = "it has ended" if lease is None else f"{lease.owner} has taken it over"
            self._lost = f"step {step_id}: run {self._owner_id} does not hold it any more; {by}"
        elif lease.counter != self._counters.get(step_id):
            self._counters[step_id], self._moved[step_id] = lease.counter, self._answered[step_id]
        self._answered[step_id] = asked
