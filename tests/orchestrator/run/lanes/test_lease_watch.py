from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.run.lanes.lease_watch import LeaseWatch
from orchestrator.store.lease import Leases
from orchestrator.store.lease_owner import Owner
from orchestrator.store.store import LeasedStore, Store
from reskd.errors import LeaseLost
from tests.support.unsteady_blobs import UnsteadyBlobs

STEPS = ("5tep", "0ther")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def blobs(tmp_path: Path) -> UnsteadyBlobs:
    return UnsteadyBlobs(tmp_path)


def hold(store: Store, name: str) -> Leases:
    """Leases on both steps, by an owner that no other process can see."""
    held = Leases(replace(Owner.this_process(), id=name, space=f"machine of {name}"), beat_s=1000)
    assert all(held.take(store.lease_path(step_id)) for step_id in STEPS)
    return held


def raises_soon(check: Callable[[], None]) -> str:
    for _ in range(500):
        try:
            check()
        except LeaseLost as lost:
            return str(lost)
        threading.Event().wait(0.01)
    raise AssertionError("the lease is lost, and the training goes on")


def test_a_step_that_another_run_takes_over_ends_its_training(tmp_path: Path, blobs: UnsteadyBlobs) -> None:
    store = Store(tmp_path, blobs)
    held = hold(store, "old")
    with LeaseWatch(LeasedStore(store, owner_id="old"), STEPS, every_s=0.01) as watch:
        threading.Event().wait(0.1)
        watch.check()
        held.release([store.lease_path("0ther")])
        hold_of_other = Leases(replace(Owner.this_process(), id="new", host="away"), beat_s=1000)
        assert hold_of_other.take(store.lease_path("0ther"))
        assert "step 0ther" in raises_soon(watch.check)
    hold_of_other.release()
    held.release()


def test_a_lease_that_is_gone_ends_the_training(tmp_path: Path, blobs: UnsteadyBlobs) -> None:
    store = Store(tmp_path, blobs)
    held = hold(store, "old")
    with LeaseWatch(LeasedStore(store, owner_id="old"), STEPS, every_s=0.01) as watch:
        held.release()
        assert "it has ended" in raises_soon(watch.check)


def test_a_silent_store_ends_the_training_before_another_run_may_take_the_steps(
    tmp_path: Path, blobs: UnsteadyBlobs
) -> None:
    """Another run counts 120 s from a movement that it sees at 0 s or later; this one sees it with its next read."""
    store, clock = Store(tmp_path, blobs), Clock()
    held = hold(store, "old")
    watch = LeaseWatch(LeasedStore(store, owner_id="old"), ["5tep"], clock=clock, stale_s=120)
    watch._look("5tep")  # at 0: the counter is 0
    held._raise_counter(store.lease_path("5tep"))
    clock.now = 2
    watch._look("5tep")  # it may have moved right after 0
    blobs.is_away = True
    for now in (60, 99, 100):
        clock.now = now
        watch._look("5tep")
        watch.check()
    clock.now = 101
    with pytest.raises(LeaseLost, match="not answered"):
        watch.check()
    blobs.is_away = False
    held.release()


def test_a_store_that_answers_again_costs_nothing(tmp_path: Path, blobs: UnsteadyBlobs) -> None:
    store, clock = Store(tmp_path, blobs), Clock()
    held = hold(store, "old")
    watch = LeaseWatch(LeasedStore(store, owner_id="old"), ["5tep"], clock=clock, stale_s=120)
    for minute in range(1, 20):  # away for 90 s of every two minutes
        clock.now = minute * 120
        blobs.is_away = False
        watch._look("5tep")
        held._raise_counter(store.lease_path("5tep"))
        watch._look("5tep")
        clock.now += 1
        watch._look("5tep")
        blobs.is_away = True
        clock.now += 90
        watch._look("5tep")
        watch.check()
    blobs.is_away = False
    held.release()


def test_a_slow_store_costs_nothing(tmp_path: Path, blobs: UnsteadyBlobs) -> None:
    """Each answer takes 30 s, to the run's beats too, so that a counter moves every 35 s."""
    store, clock = Store(tmp_path, blobs), Clock()
    held = hold(store, "old")
    place, read = store.lease_path("5tep"), blobs.read

    def slow(key: str) -> bytes | None:
        clock.now += 29
        watch.check()
        clock.now += 1
        return read(key)

    watch = LeaseWatch(LeasedStore(store, owner_id="old"), ["5tep"], clock=clock, stale_s=120)
    for _ in range(30):
        held._raise_counter(place)
        blobs.read = slow  # type: ignore[method-assign]
        watch._look("5tep")
        blobs.read = read  # type: ignore[method-assign]
        clock.now += 2
        watch.check()
    held.release()
