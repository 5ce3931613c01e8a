"""The model that MLflow opens: every form of input gives the evaluation's own probabilities."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.tracking.pyfunc_model import VideoClassifier, _load_pyfunc
from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec
from tests.support.exported_step import FinishedStep, finished_step


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory, demo_data: DataSpec, short_manifest: Manifest) -> FinishedStep:
    return finished_step(tmp_path_factory.mktemp("step"), demo_data, short_manifest)


@pytest.fixture(scope="module")
def model(step: FinishedStep) -> VideoClassifier:
    return _load_pyfunc(str(step.weights))


@pytest.fixture(scope="module")
def expected(step: FinishedStep) -> np.ndarray:
    """(N, K): the softmax of what the evaluation recorded."""
    return np.exp(step.logits) / np.exp(step.logits).sum(axis=1, keepdims=True)


def frames_of(video: Path) -> np.ndarray:
    return read_frames(video, lambda num_total: list(range(num_total)))


def test_paths_give_a_row_each_with_the_probabilities_of_the_evaluation(
    step: FinishedStep, model: VideoClassifier, expected: np.ndarray
) -> None:
    paths = [str(video) for video in step.videos]
    found = model.predict(paths)
    assert (list(found.columns), list(found.index)) == (list(step.classes), paths)
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-5)
    for same in (model.predict(step.videos), model.predict(pd.DataFrame({"n": 1, "path": paths}))):
        pd.testing.assert_frame_equal(same, found)
    pd.testing.assert_frame_equal(model.predict(paths[1]), model.predict(paths[1:2]))
    assert model.predict([]).shape == (0, len(step.classes))


def test_the_frames_of_a_video_give_what_its_path_gives(
    step: FinishedStep, model: VideoClassifier, expected: np.ndarray
) -> None:
    frames = [frames_of(video) for video in step.videos[:2]]
    assert frames[0].shape[0] > 4  # more than the model takes, so it has to choose as of a file
    found = model.predict(frames)
    assert (list(found.columns), list(found.index)) == (list(step.classes), [0, 1])
    np.testing.assert_allclose(found.to_numpy(), expected[:2], rtol=1e-5)
    for single in (frames[1], frames[1][None]):
        np.testing.assert_allclose(model.predict(single).to_numpy(), expected[1:2], rtol=1e-5)


def test_a_video_that_does_not_decode_has_no_numbers_and_the_others_have_theirs(
    step: FinishedStep, model: VideoClassifier, expected: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with caplog.at_level(logging.WARNING):
        found = model.predict([tmp_path / "bad.mp4", step.videos[0]]).to_numpy()
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], expected[0], rtol=1e-5)
    assert str(tmp_path / "bad.mp4") in caplog.text


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("no/such.mp4", "no/such.mp4"),
        (["no/such.mp4"], "no/such.mp4"),
        (pd.DataFrame({"video": ["a.mp4"]}), "video"),
        (np.zeros((4, 8, 8, 3), dtype=np.float32), "float32"),
        (np.zeros((4, 3, 8, 8), dtype=np.uint8), r"\(4, 3, 8, 8\)"),
        (np.zeros((8, 8, 3), dtype=np.uint8), r"\(8, 3\)"),
        (np.zeros((0, 8, 8, 3), dtype=np.uint8), r"\(0, 8, 8, 3\)"),
        (["a.mp4", np.zeros((4, 8, 8, 3), dtype=np.uint8)], "str"),
        (7, "int"),
        ([7], "int"),
        (None, "NoneType"),
    ],
)
def test_other_input_is_refused_with_what_the_model_takes(model: VideoClassifier, given: object, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        model.predict(given)
