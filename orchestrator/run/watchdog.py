"""Watches from the run's own process whether the run can go on, and ends it where it cannot.

A job that goes on with nothing is ended by its trial (`lanes.trial`). What a trial cannot see is watched here: the head
of Ray, the leases, places that dead trials left, and whether any job at all goes on.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import ray

from orchestrator.plan.durations import duration
from orchestrator.run.display.recorder import StateChange
from orchestrator.run.lanes.patience import Patience
from orchestrator.run.lanes.places import free_places_of_dead_trials
from orchestrator.store.lease import BEAT_S, Leases
from orchestrator.store.run_records import RunRecords
from reskd.errors import ReskdError

logger = logging.getLogger(__name__)

LOOK_S = 5.0
ANSWER_S = 25.0
"""A head of Ray that does not answer for this time counts as dead. Ray itself would end the process after 60 s."""
IN_ORDER_S, AT_ONCE_S = 30.0, 20.0
"""Time for Tune to stop in order, and then for Ray to shut down."""
GIVE_BACK_S = 10.0


class Watchdog:
    """Looks after one run. ``why`` is empty until the run cannot go on.

    patience_s: seconds in which no running job goes on that are always allowed.
    """

    def __init__(self, held: Leases, records: RunRecords, *, patience_s: float) -> None:
        self.why = ""
        self._held, self._records = held, records
        self._patience = Patience(patience_s)
        self._running: set[str] = set()
        self._num_changes = 0
        self._has_ray = False

    def heard(self, change: StateChange) -> None:
        """Take note of a job's new state."""
        self._num_changes += 1
        (self._running.add if change.state == "running" else self._running.discard)(change.job_id)

    @contextmanager
    def ray_in_use(self) -> Iterator[None]:
        """Ray is looked after while the body runs, not while it starts and ends."""
        self._has_ray = True
        try:
            yield
        finally:
            self._has_ray = False

    def look(self) -> str:
        """Why the run cannot go on; empty if it can."""
        if self._held.must_stop:
            time.sleep(BEAT_S + 1)  # where this process itself was stopped for a while, its leases first beat again
            if self._held.must_stop:
                return (
                    f"the store has not answered for {self._held.silent_s():.0f} s, so that another run may take over "
                    f"the steps of this one"
                )
        if self._is_stuck():
            return f"none of {len(self._running)} running jobs has gone on for {duration(self._patience.bound_s)}"
        return ""

    def _is_stuck(self) -> bool:
        if not self._running:  # its jobs wait for another run's teachers
            self._patience.excuse()
        try:
            places = self._records.jobs(self._held.owner.id)
        except (OSError, ReskdError):
            self._patience.excuse()  # how long the store may be silent is the leases' matter
            return False
        return self._patience.is_over((self._num_changes, places))

    def look_at_ray(self) -> str:
        """Why the run cannot go on, as far as Ray is concerned; frees what dead trials left."""
        if not self._has_ray:
            return ""
        found: list[str] = []

        def ask() -> None:
            try:
                found.append(_fault_of_ray())
                if self._has_ray and (num_freed := free_places_of_dead_trials()):
                    logger.warning("freed the workers' places of %d trials that died", num_freed)
            except Exception as error:  # whatever Ray raises when its head goes
                found.append(f"Ray's head does not answer: {error}")

        thread = threading.Thread(target=ask, name="ask ray", daemon=True)
        thread.start()
        for _ in range(2):  # where this process itself was stopped for a while, the first wait is over at once
            thread.join(ANSWER_S / 2)
        why = found[0] if found else f"Ray's head has not answered for {ANSWER_S:.0f} s"
        return why if self._has_ray else ""


def _fault_of_ray() -> str:
    if not ray.is_initialized():  # asked nevertheless, Ray would start another one
        return "Ray's connection has ended"
    here = ray.get_runtime_context().get_node_id()
    is_alive = any(node["NodeID"] == here and node["Alive"] for node in ray.nodes())
    return "" if is_alive else "Ray's raylet on this machine has died"


@contextmanager
def watched(watchdog: Watchdog, *, leave: Callable[[], None]) -> Iterator[None]:
    """Watch the run while the body runs. Where it cannot go on, the body is left by KeyboardInterrupt.

    Signals do it, as where a user stops the run: in order where Ray lives, else at once. ``leave`` is called where the
    body does not end by them, as it waits for what never answers.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(LOOK_S):
            dead = watchdog.look_at_ray()
            why = dead or watchdog.look()
            if not why or stop.is_set():
                continue
            watchdog.why = why
            logger.error("the run cannot go on: %s", why)
            for wait_s in (0.0 if dead else IN_ORDER_S, AT_ONCE_S):
                os.kill(os.getpid(), signal.SIGINT)
                if stop.wait(wait_s):
                    return
            leave()

    # Not `beside`: the end of a run does not wait for a store or a Ray that is being asked.
    threading.Thread(target=loop, name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def leave_at_once(held: Leases) -> None:
    """End this process and its children with 3, without waiting for anything; only the leases are first given back."""
    giving = threading.Thread(target=held.release, name="give back", daemon=True)
    giving.start()
    giving.join(GIVE_BACK_S)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(3)
