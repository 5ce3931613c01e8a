"""What `reskd why` and `reskd diff` answer, over a store written as trainings write it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.experiment.provenance_chain import chain_of
from orchestrator.spec.steps import build_steps
from orchestrator.spec.sweep import load
from orchestrator.store.step_diff import step_differences
from orchestrator.store.store import Store
from reskd.errors import BadInput
from tests.support.command_line import call
from tests.support.stored_sweep import PROTOCOL, StoredSweep


@pytest.fixture
def stored(tmp_path: Path) -> StoredSweep:
    stored = StoredSweep(tmp_path, seeds=(0, 1))
    # As the command line will see it, which knows neither the videos nor a manifest.
    stored.steps = prepare(stored.sweep.path, store=stored.store).steps
    for step in stored.steps.values():
        stored.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe=asdict(step.recipe))
    return stored


def prepared(stored: StoredSweep) -> Prepared:
    return prepare(stored.sweep.path, store=stored.store)


def test_why_leads_from_an_entry_to_its_seeds_their_teachers_and_what_made_them(stored: StoredSweep) -> None:
    student = stored.id_of("pixel-level MSE", 0)
    stored.finish(stored.teacher_of("pixel-level MSE", 0), 0.75)
    stored.finish(student, 0.5)
    stored.start(stored.id_of("pixel-level MSE", 1))
    stored.fail(stored.id_of("pixel-level MSE", 1))
    chain = chain_of(prepared(stored), table="table5", row="pixel-level MSE", column="test/top1")
    assert chain["value"] == "50.0 (1 of 2: seed 1 failed)"
    assert "78.5" in chain["published"]
    assert "ActivityNet mAP, published, does not compare" in chain["published"]  # the demo is not ActivityNet
    first, second = chain["seeds"]
    assert (first["value"], first["step"]["id"]) == (50.0, student)
    assert first["step"]["teacher"]["id"] == stored.teacher_of("pixel-level MSE", 0)
    assert first["step"]["teacher"]["teacher"] is None
    assert (first["step"]["protocol"], first["step"]["num_clips"], first["step"]["num_skipped"]) == (PROTOCOL, 299, 1)
    assert (first["step"]["commit"], first["step"]["versions"]) == ("0123abcd", {"torch": "2.11.0"})
    assert (second["state"], second["step"]["reason"]) == ("failed", "gradient is not finite")
    assert second["step"]["teacher"]["state"] == "never started"


def test_why_on_the_command_line_prints_the_chain_and_refuses_names_that_are_not_there(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.finish(stored.teacher_of("pixel-level MSE", 0), 0.75)
    stored.finish(stored.id_of("pixel-level MSE", 0), 0.5)
    options = ["--store", stored.store.home]
    asked = [stored.sweep.path, "table5", "pixel-level MSE", "test/top1"]
    code, text = call(monkeypatch, capsys, "why", *asked, *options)
    assert code == 0
    for said in ("taught by", "commit 0123abcd", "299 clips evaluated, 1 skipped (val/bad.mp4)", "torch 2.11.0"):
        assert said in text
    _, text = call(monkeypatch, capsys, "why", *asked, *options, "--json")
    assert json.loads(text)["seeds"][0]["step"]["id"] == stored.id_of("pixel-level MSE", 0)
    for index, wrong, said in ((1, "tabel5", "'table5'"), (2, "pixel", "no row"), (3, "test/top5", "'test/top1'")):
        code, text = call(monkeypatch, capsys, "why", *asked[:index], wrong, *asked[index + 1 :], *options)
        assert code == 2
        assert said in text


def test_diff_names_the_dotted_fields_that_make_two_steps(stored: StoredSweep) -> None:
    clip, pixel = stored.id_of("clip-level KL", 0), stored.id_of("pixel-level MSE", 0)
    counting = {one.field: (one.first, one.second) for one in step_differences(stored.store, clip, pixel) if one.counts}
    assert counting == {"kd.level": ("clip", "pixel"), "kd.weight": (1.0, 100.0)}
    same_row = step_differences(stored.store, pixel, stored.id_of("pixel-level MSE", 1))
    assert {"data_seed", "model_seed", "teacher.id", "teacher.model_seed"} <= {one.field for one in same_row}
    assert step_differences(stored.store, pixel, pixel) == []


def test_diff_tells_a_field_that_changes_no_result_from_one_that_does(stored: StoredSweep, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    text = stored.sweep.path.read_text()
    other.write_text(text.replace("epochs: 2,", "epochs: 4,").replace("name: demo", "root: here, name: demo"))
    steps = build_steps(load(other), manifest_of=lambda spec: "unseen:demo")
    for step in steps.values():
        stored.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe=asdict(step.recipe))
    changed = next(step.id for step in steps.values() if ("baseline", 0) in step.cells)
    found = {one.field: one.counts for one in step_differences(stored.store, stored.id_of("baseline", 0), changed)}
    assert found == {"optim.epochs": True, "data.root": False}


def test_diff_on_the_command_line_takes_the_first_letters_of_ids(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, pixel = stored.id_of("clip-level KL", 0), stored.id_of("pixel-level MSE", 0)
    code, text = call(monkeypatch, capsys, "diff", clip[:9], pixel[:9], "--store", stored.store.home)
    assert code == 0
    assert "kd.level" in text
    assert "2 fields make them different steps" in text
    code, text = call(monkeypatch, capsys, "diff", "zzz", pixel, "--store", stored.store.home)
    assert (code, "'zzz' names 0 steps" in text) == (2, True)
    with pytest.raises(BadInput, match="names 0 steps"):
        Store(stored.store.home).find_step("")
