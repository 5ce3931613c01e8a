"""A run that is on record, shown in its own terminal and in others."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.cost import JobEstimate
from orchestrator.plan.job import Job, job_id
from orchestrator.run.display.board import Board, shown, snapshot, watch
from orchestrator.run.display.recorder import Recorder, StateChange, recorded
from orchestrator.run.display.view import Looker
from orchestrator.store.lease import Leases, leases
from orchestrator.store.run_records import RunRecords
from reskd.blobs import FolderBlobs
from tests.support.stored_sweep import StoredSweep
from tests.support.watched_runs import training


@pytest.fixture
def stored(tmp_path: Path) -> StoredSweep:
    return StoredSweep(tmp_path, seeds=(0,))


def job_of(step_ids: Iterable[str], *, cost: float, after: Sequence[Job] = ()) -> Job:
    """A job that keeps one device busy."""
    members = tuple(sorted(step_ids))
    return Job(
        id=job_id(members),
        members=members,
        teacher_id=None,
        teacher_checkpoint=None,
        depends_on=tuple(job.id for job in after),
        resume_from=0,
        workers=1,
        cpus=1,
        gpus=0,
        cost=cost,
        estimate=JobEstimate(seconds=cost, device_seconds=cost, memory_bytes=0, step_ms=1, bound="compute"),
    )


def jobs_of(stored: StoredSweep) -> tuple[Job, Job]:
    """The teacher with the baseline; then the students."""
    first = job_of([stored.teacher_of("pixel-level MSE", 0), stored.id_of("baseline", 0)], cost=100)
    students = [stored.id_of("clip-level KL", 0), stored.id_of("pixel-level MSE", 0)]
    return first, job_of(students, cost=60, after=[first])


def recorder_of(stored: StoredSweep, held: Leases) -> Recorder:
    """The recorder of a run that holds all leases."""
    for step_id in stored.steps:
        assert held.take(stored.store.lease_path(step_id))
    prepared = Prepared(stored.sweep, stored.store, stored.steps, {})
    return Recorder(
        prepared,
        jobs_of(stored),
        owner=held.owner,
        files=[stored.sweep.path],
        log=Path("a.log"),
        num_devices=1,
    )


def plain() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=160, highlight=False, markup=False), file


def terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=80, height=24, force_terminal=True, color_system=None), file


def test_a_run_is_on_record_from_its_first_job_to_its_last_and_not_after_it(stored: StoredSweep) -> None:
    first, second = jobs_of(stored)
    with leases() as held:
        recorder = recorder_of(stored, held)
        records = recorder.records
        with recorded(recorder):
            (run,) = records.living(file="levels")
            assert [job.label for job in run.jobs] == [
                "seed 0: baseline and 1 more",
                "seed 0: clip-level KL and 1 more",
            ]
            recorder.update(StateChange(first.id, "running"))
            records.write_job(run.id, first.id, training(run.jobs[0]))
            for step_id in first.members:
                stored.finish(step_id, 0.75)
            recorder.update(StateChange(first.id, "done"))
            assert records.jobs(run.id) == {}
            recorder.update(StateChange(second.id, "running"))
            stored.fail(second.members[0])
            recorder.update(StateChange(second.id, "failed"))
            found = records.run(run.id)
            assert found is not None
            assert [job.state for job in found.jobs] == ["done", "failed"]
            assert found.jobs[0].accuracy == dict.fromkeys(first.members, 0.75)
            assert found.jobs[1].reason == "gradient is not finite"
        assert records.run_ids() == []


def test_a_job_that_is_tried_again_starts_anew_and_one_that_is_split_goes_on_as_its_parts(stored: StoredSweep) -> None:
    _, second = jobs_of(stored)
    with leases() as held, recorded(recorder := recorder_of(stored, held)):
        records, looker = recorder.records, Looker(recorder.records, recorder.run.id)
        recorder.update(StateChange(second.id, "running"))
        whole = looker.look()
        assert whole is not None
        records.write_job(recorder.run.id, second.id, training(whole.running()[0]))
        recorder.update(StateChange(second.id, "waiting"))
        recorder.update(StateChange(second.id, "running"))
        again = looker.look()
        assert again is not None
        assert again.where(again.running()[0]).phase == "starting"
        recorder.update(StateChange(second.id, "split"))
        for member in second.members:
            part = replace(second, id=job_id([member]), members=(member,), cost=30.0, estimate=None)
            recorder.update(StateChange(part.id, "waiting", new_job=part))
        after = looker.look()
        assert after is not None
        assert after.counts() == {"waiting": 3}
        assert after.pace.left_s == pytest.approx(100 + 30 + 30)


def test_a_terminal_sees_the_jobs_and_a_pipe_reads_lines(stored: StoredSweep) -> None:
    first, _ = jobs_of(stored)
    (wide, piped), (screen, seen) = plain(), terminal()
    with leases() as held, recorded(recorder := recorder_of(stored, held)):
        boards = [Board(recorder.records, recorder.run.id, console) for console in (wide, screen)]
        recorder.update(StateChange(first.id, "running"))
        recorder.records.write_job(recorder.run.id, first.id, training(recorder.records.run(recorder.run.id).jobs[0]))  # type: ignore[union-attr]
        for board in boards:
            assert board.look()
        (once, printed) = plain()
        (run,) = recorder.records.living()
        snapshot(recorder.records, run, once)
    for board in boards:
        assert not board.look()
        board.close()
    assert [line.split()[1] for line in piped.getvalue().splitlines()] == ["running", "epoch"]
    for text in (seen.getvalue(), printed.getvalue()):
        assert "seed 0: baseline and 1 more" in text
        assert "1 running, 1 waiting" in text


def test_the_end_of_a_run_is_shown_by_its_own_display_although_it_comes_between_two_looks(stored: StoredSweep) -> None:
    first, second = jobs_of(stored)
    console, printed = plain()
    with (
        leases() as held,
        recorded(recorder := recorder_of(stored, held)),
        shown(recorder.records, recorder.run.id, console),
    ):
        for job in (first, second):
            recorder.update(StateChange(job.id, "done"))
    assert printed.getvalue().count(" done ") == 2


def test_watching_ends_with_the_run_and_when_its_process_is_gone(stored: StoredSweep) -> None:
    console, _ = terminal()
    with leases() as held:
        recorder = recorder_of(stored, held)
        recorder.begin()
        (run,) = recorder.records.living()

        def release(seconds: float) -> None:
            held.release([stored.store.lease_path(run.leased)])  # as if another run had taken it over

        assert "without a word" in watch(recorder.records, run, console, pause=release)
        recorder.end()
    with leases() as held:
        recorder = recorder_of(stored, held)
        recorder.begin()
        (run,) = recorder.records.living()
        assert watch(recorder.records, run, console, pause=lambda seconds: recorder.end()) == "the run has ended"


def test_a_store_that_takes_no_record_does_not_disturb_the_run(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = jobs_of(stored)

    def full(blobs: FolderBlobs, key: str, content: bytes) -> None:
        raise OSError(28, "No space left on device", key)

    console, _ = plain()
    with leases() as held:
        recorder = recorder_of(stored, held)
        monkeypatch.setattr(FolderBlobs, "write", full)
        with caplog.at_level(logging.WARNING), recorded(recorder), shown(recorder.records, recorder.run.id, console):
            recorder.update(StateChange(first.id, "running"))
        monkeypatch.undo()
    assert "No space left" in caplog.text
    assert RunRecords(stored.store).run_ids() == []
