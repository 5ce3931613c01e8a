"""What `reskd export` and `reskd predict` answer: the evaluation's own numbers, and every video by its path."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.cli import main as cli
from reskd.data.manifest import Manifest
from reskd.deploy import predict as predict_module
from reskd.files import write_atomic
from reskd.recipe import DataSpec
from reskd.runtime import loader_processes
from tests.support.exported_step import STEP_ID, FinishedStep, finished_step, no_onnx
from tests.support.small_files import small_files

Printed = tuple[int, str, str]
"""Exit code, standard output, standard error."""


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory, demo_data: DataSpec, short_manifest: Manifest) -> FinishedStep:
    return finished_step(tmp_path_factory.mktemp("step"), demo_data, short_manifest)


class Shell:
    """A person in a folder, with $RESKD_STORE set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Printed:
        self._monkeypatch.setattr(sys, "argv", ["reskd", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = self._capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err


@pytest.fixture
def shell(
    step: FinishedStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESKD_STORE", str(step.store.home))
    return Shell(monkeypatch, capsys)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("model", ["step", "weights", "pt2", pytest.param("onnx", marks=[no_onnx, pytest.mark.slow])])
def test_probabilities_are_those_of_the_evaluation_on_record(step: FinishedStep, shell: Shell, model: str) -> None:
    named = {"step": STEP_ID[:4], "weights": str(step.weights)}.get(model, f"tsn_mini10-{STEP_ID}.{model}")
    if model in ("pt2", "onnx"):
        code, printed, _ = shell("export", STEP_ID[:4], "--format", model)
        assert code == 0
        assert "6 classes, tsn_mini10 at 24 px" in printed
    code, printed, _ = shell("predict", named, *step.videos, "--json", "--top", 99)
    assert code == 0
    answers = json.loads(printed)["videos"]
    assert [answer["path"] for answer in answers] == [str(video) for video in step.videos]
    found = [{top["class"]: top["probability"] for top in answer["top"]} for answer in answers]
    by_class = [[answer[name] for name in step.classes] for answer in found]
    np.testing.assert_allclose(by_class, softmax(step.logits), atol=1e-5)
    best = [answer["top"][0]["class"] for answer in answers]
    assert best == [step.classes[number] for number in step.logits.argmax(axis=1)]


def test_a_folder_is_searched_and_a_damaged_video_is_named_while_the_others_go_on(
    step: FinishedStep, shell: Shell, tmp_path: Path
) -> None:
    deep = tmp_path / "mine" / "holiday" / "2024"
    deep.mkdir(parents=True)
    shutil.copy(step.videos[0], deep / "beach.MP4")
    shutil.copy(step.videos[1], tmp_path / "mine" / "[red]dog.mp4")
    (deep / "torn.mp4").write_bytes(step.videos[2].read_bytes()[:900])
    (deep / "notes.txt").write_text("no video")
    shutil.copy(step.videos[3], deep / "._beach.mp4")
    code, _, said = shell("predict", STEP_ID, "mine", "--csv", "out/classes.csv", "--top", 2)
    assert code == 1
    assert "mine/holiday/2024/torn.mp4: " in said
    assert "1 of 3 videos do not decode" in said
    rows = {row["path"]: row for row in csv.DictReader((tmp_path / "out" / "classes.csv").open())}
    assert set(rows) == {"mine/[red]dog.mp4", "mine/holiday/2024/beach.MP4", "mine/holiday/2024/torn.mp4"}
    torn = rows.pop("mine/holiday/2024/torn.mp4")
    assert torn["error"]
    assert torn["class_1"] == ""
    for row, number in ((rows["mine/holiday/2024/beach.MP4"], 0), (rows["mine/[red]dog.mp4"], 1)):
        expected = softmax(step.logits)[number]
        assert row["class_1"] == step.classes[int(expected.argmax())]
        assert float(row["probability_2"]) == pytest.approx(np.sort(expected)[-2], abs=1e-5)
        assert row["error"] == ""
    code, printed, _ = shell("predict", STEP_ID, "mine")
    assert code == 1
    assert "mine/[red]dog.mp4" in printed
    assert "does not decode" in printed


def test_a_video_that_crashes_the_decoder_is_one_line_and_the_others_go_on(
    step: FinishedStep, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_frames = predict_module.read_frames

    def crash_at_one(path: Path, *args: Any, **options: Any) -> np.ndarray:
        if path == step.videos[1]:
            os.kill(os.getpid(), signal.SIGSEGV)
        return read_frames(path, *args, **options)

    monkeypatch.setattr(predict_module, "read_frames", crash_at_one)
    monkeypatch.setattr(loader_processes, "CHECK_S", 0.2)
    code, printed, said = shell("predict", STEP_ID, *step.videos[:3], "--json", "--workers", 1)
    assert code == 1
    assert said.splitlines()[0] == f"{step.videos[1]}: the decoder crashes at it (SIGSEGV)"
    best = [answer["top"][0]["class"] for answer in json.loads(printed)["videos"] if "top" in answer]
    assert best == [step.classes[number] for number in step.logits[[0, 2]].argmax(axis=1)]


def test_predictions_that_cannot_be_written_are_printed(
    step: FinishedStep, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full by the end must not cost the work of all videos."""

    def write(file: Path, content: bytes) -> None:
        with small_files(20):  # not around the whole command, since clips come from their processes in files too
            write_atomic(file, content)

    monkeypatch.setattr("orchestrator.cli.commands.steps.predict.write_atomic", write)
    code, printed, said = shell("predict", STEP_ID, *step.videos[:2], "--csv", "classes.csv", "--top", 1)
    assert (code, "classes.csv: File too large" in said, said.count("\n")) == (1, True, 1)
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["path"] for row in rows] == [str(video) for video in step.videos[:2]]
    assert [row["class_1"] for row in rows] == [step.classes[number] for number in step.logits[:2].argmax(axis=1)]
    assert not (tmp_path / "classes.csv").exists()


def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as where it is not installed
    code, _, said = shell("export", STEP_ID, "--format", "onnx")
    assert code == 2
    assert "run: pip install onnxruntime (" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", STEP_ID, "nowhere.mp4"], "nowhere.mp4: no such file or folder"),
        (["predict", STEP_ID, "empty"], "empty: no video in it"),
        (["predict", "77", "clip.mp4"], "'77' names 0 steps"),
        (["predict", "clip.mp4", "clip.mp4"], "clip.mp4: not a model"),
        (["predict", "gone.pt2", "clip.mp4"], "gone.pt2: no such file"),
        (["predict", "gone.pt", "clip.mp4"], "gone.pt: no such weights file"),
        (["predict", STEP_ID, "clip.mp4", "--csv", "empty"], "--csv empty: is a folder"),
        (["predict", STEP_ID, "clip.mp4", "--csv", "clip.mp4/a.csv"], "--csv clip.mp4/a.csv: cannot be written"),
        (["predict", STEP_ID, "clip.mp4", "--csv", "a.csv", "--json"], "--csv or --json, not both"),
        (["export", "model.pt2"], "model.pt2: exported already"),
        (["export", STEP_ID, "--output", "model.onnx"], "--output model.onnx: must end in .pt2"),
        (["export", "unfinished"], "step unfinished is not finished"),
    ],
)
def test_a_persons_mistake_is_named_and_ends_with_2(
    step: FinishedStep, shell: Shell, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(step.videos[0], tmp_path / "clip.mp4")
    step.store.record_identity("unfinished", full_id="unfinished", payload={}, recipe={})
    code, _, error = shell(*arguments)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
