"""The records that displays read: written, read, and not mistaken for those of a run that lives."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store.lease import Lease, StallWatch, leases
from orchestrator.store.lease_owner import Owner, _space, _started
from orchestrator.store.open import store_of
from orchestrator.store.run_records import RunRecords
from orchestrator.store.store import Store
from tests.support.watched_runs import ELSEWHERE, job, run, training


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path) if request.param == "folder" else store_of(request.getfixturevalue("s3_url"))


def hold(store: Store, owner: Owner, counter: int = 0, step_id: str = "5tep") -> None:
    store.lease_path(step_id).update(lambda present: Lease(owner, counter, 0.0))


def test_what_is_written_is_read_again_and_gone_when_it_is_forgotten(store: Store) -> None:
    records, one, other = RunRecords(store), job("job-a", "baseline", "pixel", state="running"), job("job-b")
    known = run(one, other)
    records.write_run(known)
    records.write_job(known.id, "job-a", training(one))
    assert records.run_ids() == [known.id]
    assert records.run(known.id) == known
    assert records.jobs(known.id) == {"job-a": training(one)}
    records.forget_job(known.id, "job-a")
    assert records.jobs(known.id) == {}
    records.forget_run(known.id)
    assert records.run_ids() == []
    assert records.run(known.id) is None


def test_a_loss_that_is_no_number_and_a_damaged_record_are_read_as_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records, one = RunRecords(store), job("job-a")
    records.write_run(run(one))
    bad = replace(training(one).members["only"], loss=float("nan"))
    records.write_job("away", "job-a", training(one, members={"only": bad}))
    assert records.jobs("away")["job-a"].members["only"].loss is None
    store.blobs.write("progress/away/job-a.json", b'{"phase": "resting"')
    store.blobs.write("progress/away/run.json", b"[]")
    assert (records.run("away"), records.jobs("away")) == (None, {})


def test_a_run_lives_while_its_process_holds_the_lease(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = RunRecords(store)
    with leases() as held:
        assert held.take(store.lease_path("5tep"))
        records.write_run(run(job("job-a"), owner=held.owner))
        assert [found.id for found in records.living()] == [held.owner.id]
        assert records.living(file="levels") == records.living()
        assert records.living(file="others") == []
        hold(store, replace(held.owner, id="another"), counter=1)
        assert records.living() == []  # another run of a living process has taken the step over


def test_the_record_of_a_process_that_is_gone_is_not_of_a_run_that_lives_and_is_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = replace(Owner.this_process(), pid=process.pid, started=_started(process.pid) or "")
    assert gone.space == _space()
    process.communicate()
    store = Store(tmp_path)
    records = RunRecords(store)
    records.write_run(run(job("job-a"), owner=gone))
    hold(store, gone)
    assert records.living() == []
    records.forget_dead()
    assert records.run_ids() == []


def test_a_run_on_another_machine_lives_if_its_lease_moves_and_else_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = RunRecords(store)
    records.write_run(run(job("job-a")))
    hold(store, ELSEWHERE)
    looks: list[float] = []

    def beat(seconds: float) -> None:
        looks.append(seconds)
        hold(store, ELSEWHERE, counter=1)

    assert [found.id for found in records.living(pause=beat)] == ["away"]
    assert len(looks) == 1
    assert records.living(pause=lambda seconds: None, watch=StallWatch(stale_s=0)) == []
    records.forget_dead()
    assert records.run_ids() == ["away"], "nothing proves that it has ended"
