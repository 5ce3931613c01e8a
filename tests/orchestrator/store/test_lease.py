from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from orchestrator.store.lease import LeaseBlob, Leases, StallWatch, read_lease
from orchestrator.store.lease_owner import Owner
from reskd.blobs import FolderBlobs
from tests.support.unsteady_blobs import UnsteadyBlobs

CODE = """
import sys, time
from pathlib import Path
from orchestrator.store.lease import LeaseBlob, Leases
from reskd.blobs import FolderBlobs
print(Leases().take(LeaseBlob("step/lease.json", FolderBlobs(Path(sys.argv[1])))), flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: LeaseBlob) -> LeaseBlob:
    return LeaseBlob("step/lease.json", FolderBlobs(tmp_path))


def _other_process(path: LeaseBlob) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", CODE, path.blobs.address], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "True"
    return process


def test_a_lease_of_a_living_process_is_refused_and_one_of_a_killed_process_is_taken_over(path: LeaseBlob) -> None:
    other = _other_process(path)
    mine = Leases()
    assert not mine.take(path)
    lease = read_lease(path)
    assert lease is not None
    assert lease.owner.pid == other.pid
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert mine.take(path)
    mine.release()
    assert read_lease(path) is None


def test_one_of_many_takers_wins(path: LeaseBlob) -> None:
    takers = [Leases() for _ in range(16)]
    with ThreadPool(16) as threads:
        won = threads.map(lambda taker: taker.take(path), takers)
    assert sum(won) == 1
    for taker in takers:
        taker.release()


def test_one_of_many_takers_wins_the_lease_of_a_process_that_is_gone(path: LeaseBlob) -> None:
    gone = Leases(replace(Owner.this_process(), id="gone", started="1"))
    assert gone.take(path)
    takers = [Leases() for _ in range(8)]
    with ThreadPool(8) as threads:
        won = threads.map(lambda taker: taker.take(path), takers)
    assert sum(won) == 1
    for taker in takers:
        taker.release()
    gone.release()


def test_a_lease_of_another_host_is_taken_only_after_its_counter_stood_still(path: LeaseBlob) -> None:
    elsewhere = Leases(
        replace(Owner.this_process(), id="elsewhere", host="far-away", space="another machine"), beat_s=0.1
    )
    assert elsewhere.take(path)
    mine = Leases(stale_s=0.6)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:  # it beats, so watching for twice the limit changes nothing
        assert not mine.take(path)
        time.sleep(0.1)
    elsewhere._stop.set()  # as when the host is cut off: no release, only silence
    time.sleep(0.3)
    assert not mine.take(path)
    time.sleep(0.8)
    assert mine.take(path)
    mine.release()


def test_an_owner_whose_lease_was_taken_over_does_not_release_the_new_one(path: LeaseBlob) -> None:
    old = Leases(replace(Owner.this_process(), id="old", started="1"))
    assert old.take(path)
    new = Leases()
    assert new.take(path)
    old.release()
    lease = read_lease(path)
    assert lease is not None
    assert lease.owner.id == new.owner.id
    new.release()


def test_a_lease_that_was_taken_over_is_not_taken_back_by_the_old_owners_next_beat(path: LeaseBlob) -> None:
    old, new = Leases(replace(Owner.this_process(), id="old", started="1"), beat_s=0.05), Leases()
    assert old.take(path)
    assert new.take(path)
    time.sleep(0.3)
    lease = read_lease(path)
    assert lease is not None
    assert lease.owner.id == new.owner.id
    assert old.paths() == ()
    old.release()
    new.release()


def test_many_leases_on_a_slow_store_are_kept_and_their_owner_does_not_stop(tmp_path: Path) -> None:
    """Each request takes a fortieth of the stale time, as 3 s do of two minutes; one after another they take longer."""
    slow = UnsteadyBlobs(tmp_path, answer_s=0.03)
    owner = Leases(replace(Owner.this_process(), id="far", space="another machine"), beat_s=0.05, stale_s=1.2)
    places = [LeaseBlob(f"{number}/lease.json", slow) for number in range(40)]
    assert all(owner.take(place) for place in places)
    seen = [LeaseBlob(place.key, FolderBlobs(tmp_path)) for place in places]
    watch, until = StallWatch(1.2), time.monotonic() + 2.0
    while time.monotonic() < until:
        present = [(place, read_lease(place)) for place in seen]
        assert not any(lease is None or watch.is_stale(place, lease) for place, lease in present)
        assert not owner.must_stop
        time.sleep(0.05)
    owner.release()
    assert [read_lease(place) for place in seen] == [None] * 40


def test_an_owner_whose_store_does_not_answer_stops_before_another_may_take_its_lease(tmp_path: Path) -> None:
    away = UnsteadyBlobs(tmp_path)
    owner = Leases(replace(Owner.this_process(), id="far", space="another machine"), beat_s=0.05, stale_s=1.0)
    assert owner.take(LeaseBlob("step/lease.json", away))
    seen, watch = LeaseBlob("step/lease.json", FolderBlobs(tmp_path)), StallWatch(1.0)
    time.sleep(0.2)
    assert not owner.must_stop
    away.is_away = True
    while not owner.must_stop:
        lease = read_lease(seen)
        assert lease is not None
        assert not watch.is_stale(seen, lease), "another run may start, and the owner has not stopped"
        time.sleep(0.02)
    owner.release()
    left = read_lease(seen)
    assert left is not None
    assert left.owner.id == "far", "what cannot be given back stays"


def test_a_beat_on_its_way_does_not_bring_back_a_lease_that_is_given_back(tmp_path: Path) -> None:
    slow = UnsteadyBlobs(tmp_path, answer_s=0.02)
    owner, places = Leases(beat_s=0.001), [LeaseBlob(f"{number}/lease.json", slow) for number in range(8)]
    for place in places:
        assert owner.take(place)
    for place in places:
        owner.release([place])
        assert read_lease(place) is None
    time.sleep(0.1)
    assert [read_lease(place) for place in places] == [None] * 8
    owner.release()
