"""When a run is ended by itself. tests/orchestrator/run/test_run.py kills parts of a real one."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.run import watchdog as module
from orchestrator.run.display.recorder import StateChange
from orchestrator.run.watchdog import Watchdog, watched
from orchestrator.store.lease import Leases
from orchestrator.store.lease_owner import Owner
from orchestrator.store.run_records import RunRecords
from orchestrator.store.store import Store
from tests.support.unsteady_blobs import UnsteadyBlobs
from tests.support.watched_runs import job, training


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def blobs(tmp_path: Path) -> UnsteadyBlobs:
    return UnsteadyBlobs(tmp_path)


def dog(blobs: UnsteadyBlobs, held: Leases, *, clock: Clock | None = None) -> Watchdog:
    made = Watchdog(held, RunRecords(Store(blobs.root, blobs)), patience_s=60)
    if clock is not None:
        made._patience._clock, made._patience._since = clock, clock.now
    return made


def test_a_run_ends_when_no_running_job_goes_on(blobs: UnsteadyBlobs) -> None:
    clock, held = Clock(), Leases()
    made, records = dog(blobs, held, clock=clock), RunRecords(Store(blobs.root, blobs))
    one = job("a")
    made.heard(StateChange("a", "running"))
    for clock.now, done in ((50.0, 1), (100.0, 2), (150.0, 3)):
        records.write_job(held.owner.id, "a", training(one, done=done))
        assert made.look() == ""
    clock.now = 200
    assert made.look() == ""
    clock.now = 811  # ten times the longest silence, and the 50 s since
    assert "1 running jobs" in made.look()


def test_a_run_whose_jobs_wait_for_another_run_goes_on(blobs: UnsteadyBlobs) -> None:
    clock = Clock()
    made = dog(blobs, Leases(), clock=clock)
    for clock.now in (0.0, 1000.0, 2000.0):
        assert made.look() == ""
    made.heard(StateChange("a", "running"))
    assert made.look() == ""
    clock.now = 2050
    made.heard(StateChange("a", "waiting"))
    clock.now = 4000
    assert made.look() == ""


def test_a_run_ends_when_its_leases_may_be_taken_over(blobs: UnsteadyBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", -0.9)
    held = Leases(replace(Owner.this_process(), space="elsewhere"), beat_s=0.05, stale_s=0.4)
    made = dog(blobs, held)
    assert held.take(made._records._store.lease_path("5tep"))
    assert made.look() == ""
    blobs.is_away = True
    threading.Event().wait(0.4)
    assert "the store has not answered" in made.look()
    held.release()


def test_the_body_is_left_as_where_a_user_stops_the_run(blobs: UnsteadyBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    made = dog(blobs, Leases())
    monkeypatch.setattr(made, "look", lambda: "it is stuck")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), watched(made, leave=lambda: pytest.fail("not needed")):
            threading.Event().wait(30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert made.why == "it is stuck"


def test_a_body_that_does_not_end_by_a_signal_is_left_by_force(
    blobs: UnsteadyBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LOOK_S", 0.01), ("IN_ORDER_S", 0.05), ("AT_ONCE_S", 0.05)):
        monkeypatch.setattr(module, name, value)
    made, left, asked = dog(blobs, Leases()), threading.Event(), []
    monkeypatch.setattr(made, "look", lambda: "it is stuck")
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        with watched(made, leave=left.set):
            assert left.wait(30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert asked == [signal.SIGINT] * 2


def test_ray_is_asked_only_while_it_is_in_use(blobs: UnsteadyBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.05)
    monkeypatch.setattr(module, "_fault_of_ray", lambda: threading.Event().wait(5))
    made = dog(blobs, Leases())
    assert made.look_at_ray() == ""
    with made.ray_in_use():
        assert "has not answered" in made.look_at_ray()
    assert made.look_at_ray() == ""
