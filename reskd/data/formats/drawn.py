"""A drawn clip, which each format's ``write`` lays down as its data set would have it: the data of a smoke test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reskd.data.formats.rows import Split
from reskd.data.synthetic import FRAMES_PER_S, NUM_FRAMES, encode

CLIP_SECONDS = NUM_FRAMES / FRAMES_PER_S
FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm"}
"""By extension, as FFmpeg calls it."""


@dataclass(frozen=True, slots=True)
class DrawnClip:
    """What a video of the smoke data set shows."""

    split: Split
    number: int
    """No two clips have the same, whatever their split."""
    labels: tuple[str, ...]
    frames: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""

    @property
    def name(self) -> str:
        return f"{self.split}{self.number}"

    def save(self, path: Path) -> None:
        """As .mp4 or .mkv (H.264), .webm (VP9), or without an extension as a folder of 00001.jpg, 00002.jpg, ..."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_bytes(encode(self.frames, container=FORMATS[path.suffix]))
            return
        path.mkdir()
        for number, frame in enumerate(self.frames, start=1):
            Image.fromarray(frame).save(path / f"{number:05d}.jpg", quality=90)


@dataclass(frozen=True, slots=True)
class Written:
    """What a DataSpec says of the files that were written, relative to the root."""

    train: str
    val: str
    classes: str | None = None
