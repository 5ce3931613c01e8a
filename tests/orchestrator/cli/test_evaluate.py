"""`reskd eval`, `compare` and `classes` as a person meets them, on a store of really trained steps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.store.step_record import records_from_store
from orchestrator.store.store import Store
from orchestrator.tracking.publish import Publisher
from tests.support.command_line import call
from tests.support.trained_sweep import copy_of


@pytest.fixture(scope="module")
def trained(trained_sweep: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return copy_of(trained_sweep, tmp_path_factory.mktemp("trained"))


def test_a_sweep_evaluated_again_is_in_mlflow_and_in_its_table(
    trained: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, store = trained.sweep.path, trained.store
    code, text = call(monkeypatch, capsys, "eval", path, "--views", "2x3", "--store", store.home)
    assert code == 0
    assert "3 evaluated, 0 had this record already" in text
    code, text = call(monkeypatch, capsys, "eval", path, "--views", "2x3", "--store", store.home)
    assert (code, "0 evaluated, 3 had this record already" in text) == (0, True)
    code, text = call(monkeypatch, capsys, "eval", path, "--views", "1x1", "--twice", "--store", store.home)
    assert (code, "3 evaluated, 0 had this record already" in text) == (0, True)
    assert "1 temporal view taken twice (middle and beginning) x 1 crop" in " ".join(text.split())
    publisher = Publisher(store, sweep=trained.sweep, steps=trained.steps, tracking_uri=None)
    from_mlflow = publisher.records()
    assert from_mlflow == records_from_store(store, trained.steps)
    for step_id, record in from_mlflow.items():
        stored = store.evaluations(step_id)["val-f4-v2x3"]
        assert record.metrics["test/val-f4-v2x3/top1"] == stored["metrics"]["top1"]
        twice = store.evaluations(step_id)["val-f4-v1x1-twice"]
        assert record.metrics["test/val-f4-v1x1-twice/top1"] == twice["metrics"]["top1"]
        assert twice["protocol"] == {"split": "val", "num_frames": 4, "views": 1, "crops": 1, "twice": True}
        assert record.evaluations == {"val-f4-v2x3": (7, 0), "val-f4-v1x1-twice": (7, 0)}
    texts = [
        call(monkeypatch, capsys, "tables", path, "--store", store.home, "--from", source)[1].partition("tables:")[0]
        for source in ("mlflow", "store")
    ]
    assert texts[0] == texts[1]
    assert "val-f4-v2x3: 4 frames, 2 temporal views x 3 crops, their softmax averaged; demo: 7 clips" in texts[0]


def test_two_steps_and_the_classes_of_one_from_logits_alone(
    trained: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(trained.store.home, store.home)
    first, second = (step.id for step in trained.steps.values() if step.cells)
    for step_id, right in ((first, [1, 1, 1, 1, 1, 0]), (second, [1, 0, 0, 0, 0, 1])):
        targets = np.eye(6, dtype=bool)
        logits = np.where(np.array(right)[:, None] == 1, targets, np.roll(targets, 1, axis=1)).astype(np.float32)
        arrays = {"logits": logits, "targets": targets, "indices": np.arange(6)}
        store.write_evaluation(step_id, "val-f4-v9x1", {"metrics": {}, "num_clips": 2, "num_skipped": 0}, arrays)
    options = ("--protocol", "val-f4-v9x1", "--store", store.home)
    code, text = call(monkeypatch, capsys, "compare", first[:6], second[:6], *options, "--json")
    found = json.loads(text)
    assert (code, found["steps"]) == (0, [first, second])
    assert (found["only_first"], found["only_second"], found["num_clips"]) == (4, 1, 6)
    assert found["p_value"] == pytest.approx(2 * (1 + 5) / 2**5)
    code, text = call(monkeypatch, capsys, "compare", first, second, *options)
    assert "difference +50.0 points" in text
    code, text = call(monkeypatch, capsys, "classes", first, *options, "--json", "--csv", tmp_path / "csv")
    found = json.loads(text)
    assert [row["correct"] for row in found["classes"]] == [1, 1, 1, 1, 1, 0]
    assert found["confusion"][5] == [1, 0, 0, 0, 0, 0]
    rows = list(csv.DictReader((tmp_path / "csv" / f"{first}-val-f4-v9x1-classes.csv").open()))
    assert [row["class"] for row in rows] == [row["class"] for row in found["classes"]]
    matrix = list(csv.reader((tmp_path / "csv" / f"{first}-val-f4-v9x1-confusion.csv").open()))
    assert [row[1:] for row in matrix[1:]] == [[str(number) for number in row] for row in found["confusion"]]
    code, text = call(monkeypatch, capsys, "classes", first, *options)
    assert code == 0
    assert "confusion (clips)" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "STEP", "--views", "10x2"), "--views must be temporal views x crops"),
        (("eval", "STEP", "--frames", "0"), "--frames must be from 1"),
        (("eval", "zzz"), "'zzz' names 0 steps"),
        (("eval", "STEP", "--device", "abacus"), "say cpu, cuda or cuda:1"),
        (("eval", "UNFINISHED"), "is not finished (absent)"),
        (("classes", "UNFINISHED"), "is not finished (absent)"),
        (("eval", "no.yaml"), "no.yaml"),
        (("compare", "STEP", "zzz"), "'zzz' names 0 steps"),
        (("classes", "STEP", "--protocol", "val-f4-v8x1"), "was not evaluated by 'val-f4-v8x1', only by val-f4-v1x1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    trained: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    shutil.copytree(trained.store.home, tmp_path / "store")
    store = Store(tmp_path / "store")
    store.record_identity("f" * 16, full_id="f" * 64, payload={}, recipe={})
    names = {"STEP": next(iter(trained.steps)), "UNFINISHED": "ffff"}
    code, text = call(monkeypatch, capsys, *(names.get(word, word) for word in arguments), "--store", store.home)
    assert code == 2
    assert said in text
    assert text.count("\n") == 1
