"""Opens the model of a run, for `mlflow.pyfunc.load_model`. It needs the file of the weights, no store and no sweep."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reskd.deploy.predict import clip_of, open_model, predict, softmax
from reskd.errors import BadInput

logger = logging.getLogger(__name__)

PATH = "path"
"""The column of a data frame that has the videos."""
INPUT = (
    f"a path of a video, a list of paths, a data frame with a column {PATH!r}, or all RGB frames of a video as a uint8 "
    "array (frames, height, width, 3); of several videos: a list of such arrays"
)
OUTPUT = "a data frame: one row for each video, one column for each class, with its probability"


def _load_pyfunc(path: str) -> VideoClassifier:
    """Called by MLflow with the path of the weights.pt. Raises BadInput if the file is missing or damaged."""
    return VideoClassifier(Path(path))


class VideoClassifier:
    """A trained model on the CPU that prepares videos as an evaluation with one view does."""

    def __init__(self, weights: Path) -> None:
        self._model = open_model(weights)
        self.card = self._model.card

    def predict(self, model_input: Any) -> pd.DataFrame:
        """Class probabilities as float64: one row for each video, one column for each class.

        model_input: see `INPUT`. The index has the paths, or counts the arrays from 0. A video that does not decode has
        NaN in its row, and a warning names it. Raises BadInput for a path that does not exist, and for any other input.
        """
        videos = _videos(model_input)
        if all(isinstance(video, str | Path) for video in videos):
            index: Iterable[object] = map(str, videos)
            rows = self._of_paths([Path(video) for video in videos])
        elif all(isinstance(video, np.ndarray) for video in videos):
            index = range(len(videos))
            rows = [self._of_frames(video) for video in videos]
        else:
            raise BadInput(f"a {type(videos[0]).__name__} and others; the model takes {INPUT}")
        columns = list(self.card.classes)
        return pd.DataFrame(np.reshape(rows, (len(videos), len(columns))), index=list(index), columns=columns)

    def _of_paths(self, paths: Sequence[Path]) -> list[NDArray[np.float64]]:
        for path in paths:
            if not path.exists():
                raise BadInput(f"{path}: no such file or folder")
        unknown = np.full(len(self.card.classes), np.nan)
        rows = []
        for prediction in predict(self._model, paths):
            if prediction.probabilities is None:
                logger.warning("%s: %s; its probabilities are NaN", prediction.path, prediction.reason)
            rows.append(unknown if prediction.probabilities is None else prediction.probabilities)
        return rows

    def _of_frames(self, frames: np.ndarray) -> NDArray[np.float64]:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
            raise BadInput(f"a {frames.dtype} array of shape {frames.shape}; the model takes {INPUT}")
        row: NDArray[np.float64] = softmax(self._model.logits(torch.stack([clip_of(frames, card=self.card)])))[0]
        return row


def _videos(model_input: Any) -> list[Any]:
    """The input's videos: paths, or arrays of frames."""
    if isinstance(model_input, str | Path):
        return [model_input]
    if isinstance(model_input, np.ndarray) and model_input.dtype == np.uint8:
        return [model_input] if model_input.ndim == 4 else list(model_input)
    if isinstance(model_input, pd.DataFrame):
        if PATH not in model_input.columns:
            raise BadInput(f"a data frame with the columns {list(model_input.columns)}; the model takes {INPUT}")
        return list(model_input[PATH])
    if isinstance(model_input, Iterable):
        return list(model_input)
    raise BadInput(f"a {type(model_input).__name__}; the model takes {INPUT}")
