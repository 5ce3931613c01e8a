from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.store.lease import Leases
from orchestrator.store.lease_owner import Owner
from orchestrator.store.store import LeasedStore, Store
from reskd.checkpoint import load_weights
from reskd.errors import BadInput, LeaseLost
from reskd.files import write_atomic
from tests.support.stored_sweep import DONE

STEP = "0123456789abcdef"
INFO = {"workers": 2, "threads": 1, "started_ms": 1, "host": "here"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def save(store: Store, *epochs: int) -> None:
    for epoch in epochs:
        store.save(STEP, epoch, {"model": {"w": torch.full((2,), epoch)}}, {"train/loss": 1 / epoch})


def test_the_newest_two_checkpoints_are_kept_and_every_epoch_has_its_line(store: Store) -> None:
    save(store, 1, 2, 3)
    assert store.epochs(STEP) == (2, 3)
    assert [line["metrics"]["train/loss"] for line in store.metrics(STEP)] == [1.0, 1 / 2, 1 / 3]


def test_a_line_without_its_checkpoint_is_not_shown_and_a_rewind_drops_it(store: Store) -> None:
    save(store, 1, 2, 3)
    (store.folder(STEP) / "checkpoints" / "epoch_0003.pt").unlink()
    assert [line["epoch"] for line in store.metrics(STEP)] == [1, 2]
    store.rewind(STEP, 2)
    save(store, 3)
    assert [line["epoch"] for line in store.metrics(STEP)] == [1, 2, 3]


def test_a_crash_between_checkpoint_and_line_loses_no_line(store: Store) -> None:
    save(store, 1, 2)
    path = store.folder(STEP) / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]) + '{"epoch": 2, "tor')
    store.rewind(STEP, 2)
    assert [(line["epoch"], line["metrics"]["train/loss"]) for line in store.metrics(STEP)] == [(1, 1.0), (2, 0.5)]


def test_a_rewind_to_the_start_forgets_everything(store: Store) -> None:
    save(store, 1, 2)
    store.rewind(STEP, 0)
    assert store.epochs(STEP) == ()
    assert store.metrics(STEP) == []


def test_a_share_that_is_gone_is_not_taken_for_damage(store: Store) -> None:
    save(store, 1)
    path = store.folder(STEP) / "checkpoints" / "epoch_0001.pt"
    path.unlink()
    path.mkdir()  # any error of the file system will do
    with pytest.raises(OSError, match="directory"):
        store.load(STEP, 1)


def test_a_damaged_checkpoint_and_one_of_another_step_are_refused_by_name(store: Store) -> None:
    save(store, 1)
    path = store.folder(STEP) / "checkpoints" / "epoch_0001.pt"
    other = store.folder("f" * 16) / "checkpoints" / "epoch_0001.pt"
    other.parent.mkdir(parents=True)
    other.write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match=f"belongs to step {STEP}"):
        store.load("f" * 16, 1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"epoch_0001.pt: damaged"):
        store.load(STEP, 1)


def test_a_resume_reads_the_start_of_its_checkpoints_and_a_new_start_replaces_it(store: Store) -> None:
    store.start(STEP, {**INFO, "workers": 1}, afresh=True)  # and was stopped before its first checkpoint
    store.start(STEP, INFO, afresh=True)
    assert store.start(STEP, {**INFO, "workers": 4}, afresh=False) == INFO
    assert store.status(STEP).workers == 2


def test_a_status_follows_a_step_from_absent_to_done(store: Store) -> None:
    assert store.status(STEP).state == "absent"
    leases = Leases()
    assert leases.take(store.lease_path(STEP))
    held = store.status(STEP)
    assert (held.state, held.holder) == ("held", str(leases.owner))
    assert store.status(STEP, own=leases.owner.id).state == "absent"
    leases.release()
    store.fail(STEP, {"reason": "diverged"})
    assert (store.status(STEP).state, store.status(STEP).reason) == ("failed", "diverged")
    store.forget_failure(STEP)
    store.finish(STEP, {}, DONE)
    assert store.status(STEP).state == "done"


def test_workers_of_a_run_that_lost_its_lease_write_nothing(tmp_path: Path) -> None:
    old = Leases(replace(Owner.this_process(), id="old", started="1"))
    sink = LeasedStore(Store(tmp_path), owner_id="old")
    assert old.take(sink.lease_path(STEP))
    save(sink, 1)
    new = Leases()
    assert new.take(sink.lease_path(STEP))  # the old process is gone, as far as its start time says
    with pytest.raises(LeaseLost, match=STEP):
        save(sink, 2)
    with pytest.raises(LeaseLost):
        sink.finish(STEP, {}, {})
    assert sink.epochs(STEP) == (1,)
    old.release()
    new.release()


def test_two_recipes_under_one_id_are_refused(store: Store) -> None:
    store.record_identity(STEP, full_id=STEP * 4, payload={"lr": 0.1}, recipe={})
    store.record_identity(STEP, full_id=STEP * 4, payload={"lr": 0.1}, recipe={})
    with pytest.raises(BadInput, match="another recipe"):
        store.record_identity(STEP, full_id=STEP * 4, payload={"lr": 0.2}, recipe={})


def test_a_step_in_training_is_not_deleted(store: Store) -> None:
    leases = Leases()
    leases.take(store.lease_path(STEP))
    with pytest.raises(BadInput, match="is being trained by process"):
        store.remove(STEP)
    leases.release()
    store.remove(STEP)
    assert not store.folder(STEP).exists()


def test_done_and_a_line_come_after_what_they_stand_for(store: Store) -> None:
    (store.folder(STEP) / "weights.pt").mkdir(parents=True)  # so that writing the file fails
    with pytest.raises(OSError, match="directory"):
        store.finish(STEP, {}, {})
    assert not store.is_finished(STEP)
    (store.folder(STEP) / "checkpoints" / "epoch_0001.pt").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        save(store, 1)
    assert not (store.folder(STEP) / "metrics.jsonl").exists()


def test_a_reader_of_a_file_sees_the_old_content_to_its_end(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "old")
    with open(tmp_path / "a") as reader:
        write_atomic(tmp_path / "a", "new and longer")
        assert reader.read() == "old"


WRITES: dict[str, Callable[[LeasedStore], object]] = {
    "start": lambda sink: sink.start(STEP, INFO, afresh=True),
    "rewind": lambda sink: sink.rewind(STEP, 0),
    "save": lambda sink: save(sink, 2),
    "write_evaluation": lambda sink: sink.write_evaluation(STEP, "val", {}, {"logits": np.zeros(1)}),
    "write_throughput": lambda sink: sink.write_throughput(STEP, {"device": "cpu"}),
    "fail": lambda sink: sink.fail(STEP, {"reason": "x"}),
    "finish": lambda sink: sink.finish(STEP, {}, {}),
}


@pytest.mark.parametrize("name", WRITES)
def test_no_writer_writes_without_the_lease(tmp_path: Path, name: str) -> None:
    sink = LeasedStore(Store(tmp_path), owner_id="old")
    save(Store(tmp_path), 1)
    other = Leases()
    other.take(sink.lease_path(STEP))
    folder = Store(tmp_path).folder(STEP)
    before = sorted(folder.rglob("*"))
    with pytest.raises(LeaseLost):
        WRITES[name](sink)
    assert sorted(folder.rglob("*")) == before
    other.release()


def test_a_file_that_would_run_code_is_refused(store: Store) -> None:
    save(store, 1)
    torch.save({"step_id": STEP, "x": nn.Linear(1, 1)}, store.folder(STEP) / "checkpoints" / "epoch_0001.pt")
    with pytest.raises(BadInput, match=r"epoch_0001\.pt: damaged"):
        store.load(STEP, 1)
    torch.save({"model": {}, "model_spec": {}, "classes": [], "x": nn.Linear(1, 1)}, store.weights(STEP))
    with pytest.raises(BadInput, match=r"weights\.pt: damaged"):
        load_weights(store.weights(STEP))


def test_a_sweep_with_many_changes_has_a_folder_for_its_tables(store: Store) -> None:
    """A name of a file has at most 255 bytes; that of a sweep has all changes of --set in it."""
    names = [f"sweep+optim.lr={'0' * 300}{end}" for end in "12"]
    for name in ("sweep+data.train=lists_a.csv", *names):
        store.tables(name).mkdir(parents=True)
    assert store.tables("sweep+data.train=lists_a.csv").name == "sweep+data.train=lists_a.csv"


def test_tables_of_a_changed_sweep_are_in_a_folder_that_a_shell_can_type(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = ["my+seeds=[0]", "my+seeds=[1]", "my+data.train=my list.csv", f"my+{'optim.lr=0.1+' * 9}", "my"]
    folders = [store.tables(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(re.fullmatch(r"my(~[0-9a-f]{6})?", folder.name) for folder in folders)
    before = tmp_path / "tables" / "my+seeds=[0]"  # as an earlier version has named it
    before.mkdir(parents=True)
    assert store.tables("my+seeds=[0]") == before
