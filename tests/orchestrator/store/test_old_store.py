"""A store that the code of commit 6431d69 left is read, tabulated and resumed.

tests/fixtures/make_old_store.py made it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.experiment.build_tables import build_tables
from orchestrator.spec.steps import Step
from orchestrator.store.lease import leases
from orchestrator.store.step_record import records_from_store
from orchestrator.store.store import LeasedStore, Store
from reskd.checkpoint import load_weights
from reskd.data.annotations import data_root
from reskd.data.synthetic import make_demo
from reskd.files import read_json
from reskd.models.backbones import mini
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec
from tests.fixtures.processor import instructions

FIXTURE = Path(__file__).parents[2] / "fixtures" / "store_6431d69"
FACTS: dict[str, Any] = read_json(FIXTURE / "facts.json") or {}
STATES = {
    "teacher": "done",
    "finished": "done",
    "interrupted": "interrupted",
    "stopped early": "pruned",
    "failed": "failed",
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What $RESKD_DATA was when the store was made: the same videos, drawn again."""
    folder = tmp_path_factory.mktemp("videos")
    make_demo(folder / "demo", **FACTS["clips"])
    return folder


@pytest.fixture
def old(tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """A copy of the old store under its sweep."""
    monkeypatch.setenv("RESKD_DATA", str(videos))
    strides = (stride for _, stride in mini.STAGES[4])
    monkeypatch.setattr(mini, "STEM_WIDTH", FACTS["widths"][0])
    monkeypatch.setitem(mini.STAGES, 4, tuple(zip(FACTS["widths"], strides, strict=True)))
    shutil.copytree(FIXTURE / "store", tmp_path / "store")
    return prepare(FIXTURE / "old.yaml", store=Store(tmp_path / "store"))


def by_row(prepared: Prepared) -> dict[str, Step]:
    return {step.cells[0][0] if step.cells else "teacher": step for step in prepared.steps.values()}


def test_the_videos_are_the_same_and_every_step_has_the_id_that_it_had(old: Prepared) -> None:
    on_record = {path.name for path in (FIXTURE / "store" / "runs").iterdir()}
    assert {step.id for step in old.steps.values()} == on_record
    assert [Path(old.store.manifest_reference("demo", sha256)).name for sha256 in old.manifests] == [
        path.name for path in (FIXTURE / "store" / "manifests").iterdir()
    ]
    for step in old.steps.values():
        identity = old.store.identity(step.id)
        assert identity is not None
        assert (identity["full_id"], identity["payload"]) == (step.full_id, step.payload)


def test_every_state_is_read_as_what_it_was(old: Prepared) -> None:
    records = records_from_store(old.store, old.steps)
    assert {row: records[step.id].state for row, step in by_row(old).items()} == STATES
    assert "gradient's norm is nan" in records[by_row(old)["failed"].id].note
    assert "stopped early after epoch 2" in records[by_row(old)["stopped early"].id].note
    jobs = [job.members for job in old.plan().jobs]
    assert jobs == [(by_row(old)["interrupted"].id,)]


def test_a_table_shows_the_figures_of_done_json(old: Prepared) -> None:
    (table,) = build_tables(old, records_from_store(old.store, old.steps))
    done = read_json(FIXTURE / "store" / "runs" / by_row(old)["finished"].id / "DONE.json")
    assert done is not None
    shown = table.entries
    assert [shown["finished", column].estimate.mean for column in ("test/top1", "test/mAP", "GMACs")] == pytest.approx(
        [100 * done["metrics"]["test/top1"], 100 * done["metrics"]["test/mAP"], done["complexity"]["gmacs"]]
    )
    states = [shown[row, "test/top1"].state for row in ("finished", "interrupted", "stopped early", "failed")]
    assert states == ["complete", "interrupted", "pruned", "failed"]


def test_the_interrupted_step_ends_as_the_old_code_would_have_ended_it(old: Prepared) -> None:
    """Bit by bit where the processor has the instructions of the one that made the store.

    With others the convolutions add in another order, and the last epoch's steps carry that on; weights then agree
    to 1e-5.
    """
    step = by_row(old)["interrupted"]
    assert old.store.epochs(step.id) == (1, 2)
    with leases() as held:
        assert held.take(old.store.lease_path(step.id))
        outcome = fit_cohort(
            [MemberSpec(step.id, step.recipe)],
            manifest=old.manifest(step),
            root=data_root(step.recipe.data),
            sink=LeasedStore(old.store, owner_id=held.owner.id),
            teacher_weights=old.store.weights(str(step.teacher_id)),
        )
    assert outcome == {step.id: None}
    done, undisturbed = old.store.done(step.id), read_json(FIXTURE / "undisturbed" / "DONE.json")
    assert done is not None
    assert undisturbed is not None
    files = old.store.weights(step.id), FIXTURE / "undisturbed" / "weights.pt"
    ours, theirs = (load_weights(file)["model"] for file in files)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    if FACTS["instructions"] == instructions():
        assert done["state_hash"] == undisturbed["state_hash"]
        assert done["metrics"] == undisturbed["metrics"]
