"""A step with a damaged file: nobody takes it for a good one, and every reader says so in one line."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from orchestrator.experiment.load_step import load_step
from orchestrator.store.contents import contents
from orchestrator.store.evaluations import finished_step, stored_arrays
from orchestrator.store.lease import LeaseBlob, Leases, read_lease
from orchestrator.store.step_record import read_step, records_from_store
from orchestrator.store.store import Store
from reskd.blobs import FolderBlobs
from reskd.errors import BadInput, Damaged
from reskd.training.resume import newest_common
from tests.support.stored_sweep import PROTOCOL, StoredSweep

SHAPES = [b"[]", b"{}", b'{"metrics": {}}', b"\xff\xfe\x00", b"[" * 100_000, b""]
"""No record of a step."""


@pytest.fixture
def stored(tmp_path: Path) -> StoredSweep:
    stored = StoredSweep(tmp_path, seeds=(0,))
    stored.finish(stored.id_of("baseline", 0), 0.5)
    return stored


def rot(path: Path) -> bytes:
    """Flip a bit in the middle; returns what the file was."""
    before = path.read_bytes()
    path.write_bytes(
        before[: len(before) // 2] + bytes([before[len(before) // 2] ^ 4]) + before[len(before) // 2 + 1 :]
    )
    return before


@pytest.mark.parametrize("content", SHAPES)
@pytest.mark.parametrize("name", ["DONE.json", f"eval/{PROTOCOL}.json"])
def test_a_step_whose_record_is_none_is_damaged_for_every_reader(
    stored: StoredSweep, name: str, content: bytes
) -> None:
    step_id, store = stored.id_of("baseline", 0), stored.store
    (store.folder(step_id) / name).write_bytes(content)
    record = records_from_store(store, stored.steps)[step_id]
    assert (record.state, record.metrics) == ("damaged", {})
    assert f"{name}: damaged" in record.note
    read = read_step(store, stored.steps[step_id], steps=stored.steps)
    assert read is not None
    assert (read.record.state, "reskd.complete" in read.tags) == ("damaged", False)
    if name == "DONE.json":
        assert store.status(step_id).state == "damaged"
        with pytest.raises(BadInput, match="damaged"):
            finished_step(store, step_id)


def test_an_edited_recipe_is_found_where_it_is_read(stored: StoredSweep) -> None:
    step_id, store = stored.id_of("baseline", 0), stored.store
    path = store.folder(step_id) / "recipe.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 3'))
    for read in (store.identity, lambda step_id: load_step(step_id, store=store.home)):
        with pytest.raises(Damaged, match=r"recipe\.json: damaged or edited"):
            read(step_id)
    (row,) = contents(store)
    assert (row["step"], row["state"]) == (step_id, "damaged")
    assert str(path) in row["reason"]


def test_whoever_finds_weights_damaged_notes_it_for_all(stored: StoredSweep) -> None:
    step_id, store = stored.id_of("baseline", 0), stored.store
    rot(store.folder(step_id) / "weights.pt")
    with pytest.raises(Damaged, match=rf"weights\.pt: damaged.*`reskd rm {step_id}`"):
        load_step(step_id, store=store.home)
    assert store.status(step_id).state == "damaged"
    assert records_from_store(store, stored.steps)[step_id].state == "damaged"
    with pytest.raises(BadInput, match="damaged"):
        finished_step(store, step_id)


def test_logits_that_rotted_name_the_evaluation_to_repeat(stored: StoredSweep) -> None:
    step_id, store = stored.id_of("baseline", 0), stored.store
    rot(store.folder(step_id) / "eval" / f"{PROTOCOL}.npz")
    with pytest.raises(BadInput, match=rf"{PROTOCOL}\.npz: damaged.*`reskd eval {step_id}`"):
        stored_arrays(store, step_id, PROTOCOL)


def test_a_damaged_line_of_metrics_is_logged_once_and_the_others_are_read(
    stored: StoredSweep, caplog: pytest.LogCaptureFixture
) -> None:
    step_id, store = stored.id_of("baseline", 0), stored.store
    path = store.folder(step_id) / "metrics.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    for bad in (
        b"[]\n",
        b'{"epoch": 1}\n',
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        first.replace(b'"epoch": 1', b'"epoch": 3'),
    ):
        path.write_bytes(bad + second)
        with caplog.at_level(logging.WARNING):
            assert [[line["epoch"] for line in store.metrics(step_id)] for _ in range(2)] == [[2], [2]]
    assert all(f"{path}:1: damaged" in record.message for record in caplog.records)
    assert len(caplog.records) == len({record.message for record in caplog.records})


def test_a_resume_goes_back_to_the_checkpoint_before_a_damaged_one(
    stored: StoredSweep, caplog: pytest.LogCaptureFixture
) -> None:
    store, step_id = stored.store, stored.teacher_of("pixel-level MSE", 0)
    stored.start(step_id)
    for epoch in (1, 2, 3):
        stored.train(step_id, epoch=epoch)
    rot(store.folder(step_id) / "checkpoints" / "epoch_0003.pt")
    with caplog.at_level(logging.WARNING):
        assert newest_common(store, [step_id]) == 2
    (line,) = caplog.records
    assert "epoch_0003.pt" in line.getMessage()
    assert (store.epochs(step_id), [line["epoch"] for line in store.metrics(step_id)]) == ((2,), [1, 2])


@pytest.mark.parametrize("content", [*SHAPES, b'{"owner": {}}', b'{"owner": [], "counter": "1", "since": 0}'])
def test_a_lease_that_is_none_is_replaced_by_the_next_taker(tmp_path: Path, content: bytes) -> None:
    place = LeaseBlob("step/lease.json", FolderBlobs(tmp_path))
    place.blobs.write(place.key, content)
    assert read_lease(place) is None
    taker = Leases()
    try:
        assert taker.take(place)
        found = read_lease(place)
        assert found is not None
        assert found.owner == taker.owner
    finally:
        taker.release()


def test_a_crash_between_two_writes_leaves_no_file_that_is_called_damaged(stored: StoredSweep) -> None:
    """Every file with its digest is one write: whichever of two versions is there, it fits."""
    store, step_id = stored.store, stored.id_of("baseline", 0)
    path = store.folder(step_id) / f"eval/{PROTOCOL}.json"
    versions = [path.read_bytes()]
    stored.evaluate(step_id, PROTOCOL, 0.75)
    versions.append(path.read_bytes())
    tops = []
    for content in versions:
        path.write_bytes(content)
        tops.append(Store(store.home).evaluations(step_id)[PROTOCOL]["metrics"]["top1"])
    assert tops == [0.5, 0.75]
    assert json.loads(versions[0])["metrics"] == {"top1": 0.5}
