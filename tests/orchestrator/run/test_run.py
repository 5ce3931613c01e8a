"""`reskd run` as a person types it, on a real Ray and a real MLflow: undisturbed, and with everything going wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.store.store import Store
from tests.support.sweeps import THREE_ROWS
from tests.support.typed_runs import Place, wait_until

pytestmark = pytest.mark.ray

NUM_EPOCHS = 48
"""Epochs of the row that is stopped: enough that it still trains after another command has been tried meanwhile."""


def place(folder: Path, demo_root: Path, *, num_epochs: int = NUM_EPOCHS) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    sweep = folder / "small.yaml"
    sweep.write_text(THREE_ROWS.replace("ROOT", str(demo_root)).replace("epochs: 100", f"epochs: {num_epochs}"))
    return Place(sweep, Store(folder / "store"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, demo_root: Path) -> Place:
    here = place(tmp_path_factory.mktemp("undisturbed"), demo_root)
    done = here.call("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 steps done" in done.stdout
    assert "reskd ui --store" in done.stdout  # by the path where bin is not on PATH
    return here


def test_a_run_trains_every_step_with_two_workers_and_writes_its_tables(undisturbed: Place) -> None:
    assert len(undisturbed.hashes()) == 4
    for step_id in undisturbed.hashes():
        record = undisturbed.store.done(step_id)
        assert record is not None
        assert record["workers"] == 2
        assert undisturbed.store.evaluations(step_id)["val-f4-v1x1"]["num_clips"] == 7
    table = (undisturbed.store.tables("small") / "levels.md").read_text()
    assert "ActivityNet mAP, published" in table
    assert "missing" not in table


def test_a_run_typed_again_trains_nothing_and_rewrites_the_same_tables(undisturbed: Place) -> None:
    folder = undisturbed.store.tables("small")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    started = time.monotonic()
    again = undisturbed.call("run")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 jobs to run" in again.stdout
    assert time.monotonic() - started < 60
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_tables_come_back_when_mlflows_database_and_the_files_are_deleted(undisturbed: Place) -> None:
    folder = undisturbed.store.tables("small")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    undisturbed.store.mlflow_db.unlink()
    for command, options in (("publish", ()), ("tables", ()), ("tables", ("--from", "store"))):
        for path in folder.iterdir():
            path.unlink()
        done = undisturbed.call(command, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, (command, options)


def test_a_run_whose_worker_is_killed_and_that_is_stopped_ends_with_the_same_weights(
    undisturbed: Place, tmp_path: Path, demo_root: Path
) -> None:
    here = place(tmp_path, demo_root)
    store, teacher, pixel = here.store, here.prepared().steps[here.step_of("pixel")].teacher_id, here.step_of("pixel")
    assert teacher is not None

    first = here.start()
    wait_until(lambda: bool(store.epochs(teacher)), first)
    _kill_one_worker(first.pid)
    wait_until(lambda: len(store.epochs(pixel)) == 2, first)  # so Ray started the workers again
    finished = {step_id: (store.folder(step_id) / "DONE.json").stat().st_mtime_ns for step_id in here.hashes()}
    assert teacher in finished
    other = here.call("run")
    assert other.returncode == 3, other.stdout + other.stderr
    assert f"being trained by process {first.pid}" in other.stdout, other.stdout
    first.send_signal(signal.SIGINT)
    stopped = first.wait()
    assert stopped.returncode == 3, first.said()
    assert "Continue with:" in stopped.stdout
    assert "small.yaml --store" in stopped.stdout
    assert not store.is_finished(pixel), "the run ended before it could be stopped"
    kept = store.metrics(pixel)[:-1]  # the last one may have been written without its state

    second = here.call("run")
    assert second.returncode == 0, second.stdout + second.stderr
    assert here.hashes() == undisturbed.hashes()
    for step_id, written in finished.items():
        assert (store.folder(step_id) / "DONE.json").stat().st_mtime_ns == written
    lines = store.metrics(pixel)
    assert [line["epoch"] for line in lines] == list(range(1, NUM_EPOCHS + 1))
    assert lines[: len(kept)] == kept, "epochs before the stop were trained again"


def _kill_one_worker(driver: int) -> None:
    workers = [
        process
        for process in psutil.Process(driver).children(recursive=True)
        if "RayTrainWorker" in process.name()  # not its loader process, which has the same command
    ]
    assert len(workers) == 2
    os.kill(workers[1].pid, signal.SIGKILL)


def test_a_job_without_room_for_its_members_is_halved_and_ends_with_the_same_weights(
    undisturbed: Place, tmp_path: Path, demo_root: Path
) -> None:
    # Students so short that they meet no second epoch, whose job is not the one that this is about.
    here = place(tmp_path, demo_root, num_epochs=1)
    path = os.pathsep.join(
        [str(Path(__file__).parents[2] / "support" / "narrow_device"), os.environ.get("PYTHONPATH", "")]
    )
    done = here.call("run", PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("split ") == 1, done.stdout
    assert "4 of 4 steps done" in done.stdout
    teacher = here.prepared().steps[here.step_of("pixel")].teacher_id
    for step_id in (teacher, here.step_of("baseline")):
        assert here.hashes()[step_id] == undisturbed.hashes()[step_id]
