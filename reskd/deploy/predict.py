"""Predicts classes of video files with a trained model. Frames and crop are those of an evaluation with one view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from reskd.data.decode.dispatch import read_frames
from reskd.data.decode.frames import FRAME_SUFFIXES, holds_only_frames
from reskd.data.sampling import eval_indices
from reskd.data.transforms import small_image, test_crop
from reskd.deploy.card import Card, Classifier, load_trained
from reskd.deploy.export import open_exported
from reskd.errors import BadInput, DecodeError, reason_of
from reskd.files import walk
from reskd.recipe import DataSpec
from reskd.runtime.handover import Empty, empty
from reskd.runtime.loader_processes import LoaderProcesses

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
)
"""Suffixes of videos when a folder is searched. A file that is named directly may have any suffix."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The class probabilities of one video, or the reason why there are none."""

    path: Path
    classes: tuple[str, ...]
    """Names of the K classes."""
    probabilities: NDArray[np.float64] | None
    """(K,), with sum 1; None if the video does not decode."""
    reason: str = ""
    """Why the video does not decode."""

    def top(self, k: int) -> list[tuple[str, float]]:
        """(class, probability) of the k most likely classes, best first; empty for a video that does not decode."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[number], float(self.probabilities[number])) for number in order]


def open_model(path: str | Path) -> Classifier:
    """Open a .pt2, an .onnx or a weights.pt to run on the CPU. Raises BadInput for any other file."""
    path = Path(path)
    return open_exported(path) if path.suffix in (".pt2", ".onnx") else load_trained(path)


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """The given files, and the videos in the given folders and their subfolders, sorted by name; each once.

    A given folder with nothing but frames is one clip. Hidden files and folders are skipped, links followed. Raises
    BadInput for a missing path or a folder without videos, and OSError for a folder that cannot be read.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir() and holds_only_frames(path, videos=VIDEO_SUFFIXES):
            found[path] = None
        elif path.is_dir():
            inside = sorted(_videos_below(path))
            if not inside:
                looked = f"looked for {' '.join(sorted(VIDEO_SUFFIXES))}, and for frames ({' '.join(FRAME_SUFFIXES)})"
                raise BadInput(f"{path}: no video in it; {looked}")
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise BadInput(f"{path}: no such file or folder")
    return list(found)


def predict(
    model: Classifier, paths: Sequence[str | Path], *, batch_size: int = 8, workers: int = 1
) -> Iterator[Prediction]:
    """The prediction of each video that `find_videos` finds, one after another, on the CPU.

    ``workers``: decoding processes. A video that does not decode, or at which the decoder crashes or hangs, gets a
    reason; the others continue. Raises BadInput for a missing path or a folder without videos.
    """
    return _predictions(model, find_videos([Path(path) for path in paths]), batch_size=batch_size, workers=workers)


def _predictions(model: Classifier, paths: Sequence[Path], *, batch_size: int, workers: int) -> Iterator[Prediction]:
    if not paths:
        return
    classes, videos = model.card.classes, _Videos(paths, model.card)
    batches = [list(range(len(paths)))[first : first + batch_size] for first in range(0, len(paths), batch_size)]
    num_processes = min(workers, len(batches))
    for batch, (clips, reasons) in zip(
        batches, LoaderProcesses(videos, batches, num_processes=num_processes, prefetch=2), strict=True
    ):
        answers = iter(softmax(model.logits(clips))) if len(clips) else iter(())
        for number, reason in zip(batch, reasons, strict=True):
            yield Prediction(paths[number], classes, None if reason else next(answers), reason)


class _Videos(Dataset["Tensor | str"]):
    """The clips of some videos for loader processes: a clip is uint8 (T, 3, S, S), or the reason why there is none."""

    def __init__(self, paths: Sequence[Path], card: Card) -> None:
        self._paths, self._card = paths, card
        self._lost: dict[int, str] = {}
        self.on_read: Callable[[int], None] | None = None

    def path(self, number: int) -> Path:
        return self._paths[number]

    def lose(self, number: int, reason: str) -> None:
        self._lost[number] = reason

    def __getitem__(self, number: int) -> Tensor | str:
        if self.on_read is not None:
            self.on_read(number)
        return self._lost.get(number) or read_clip(self._paths[number], card=self._card)

    def collate(self, items: Sequence[Tensor | str], *, empty: Empty = empty) -> tuple[Tensor, list[str]]:
        """The clips, uint8 (g, T, 3, S, S), and for each item the reason why it has none, or an empty text."""
        clips = [item for item in items if isinstance(item, Tensor)]
        together = empty((len(clips), self._card.num_frames, 3, self._card.crop_size, self._card.crop_size))
        for row, clip in zip(together, clips, strict=True):
            row[:] = clip
        return together, ["" if isinstance(item, Tensor) else item for item in items]


def _videos_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error  # else its videos would be left out silently

    for here, _, names in walk(folder, on_error=refuse):
        for name in names:
            if Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield Path(here, name)


def read_clip(path: Path, *, card: Card) -> Tensor | str:
    """The clip as uint8 (T, 3, S, S), prepared as in validation; or the reason why it cannot be read."""
    keep = partial(small_image, short_side=card.short_side, resample=card.resample)
    try:
        frames = read_frames(path, partial(_chosen, card=card), backend=card.decode, keep=keep)
    except DecodeError as error:
        return error.reason
    except OSError as error:
        return reason_of(error)
    return _cropped(frames, card=card)


def clip_of(frames: NDArray[np.uint8], *, card: Card) -> Tensor:
    """The clip as uint8 (T, 3, S, S), prepared as in validation, of all RGB frames of a video, uint8 (N, H, W, 3)."""
    return _cropped(frames[_chosen(len(frames), card=card)], card=card)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, K) -> class probabilities (N, K)."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _chosen(num_total: int, *, card: Card) -> list[int]:
    """The frames of a clip, by number."""
    stretch = card.short_videos == "stretch"
    return eval_indices(num_total, num_frames=card.num_frames, stride=card.stride, stretch=stretch)


def _cropped(frames: NDArray[np.uint8], *, card: Card) -> Tensor:
    """uint8 (T, H, W, 3) -> uint8 (T, 3, S, S)."""
    spec = DataSpec(
        num_frames=card.num_frames, short_side=card.short_side, resample=card.resample, crop_size=card.crop_size
    )
    return test_crop(torch.from_numpy(frames).permute(0, 3, 1, 2), spec=spec)
