"""Drawn clips for smoke tests. The ``write`` function of each format stores them in the layout of its data set."""

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
"""File extension -> FFmpeg's name of the container."""


@dataclass(frozen=True, slots=True)
class DrawnClip:
    """A video of the smoke data set."""

    split: Split
    number: int
    """Unique over both splits."""
    labels: tuple[str, ...]
    frames: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""

    @property
    def name(self) -> str:
        return f"{self.split}{self.number}"

    def save(self, path: Path) -> None:
        """Write the clip as .mp4 or .mkv (H.264) or .webm (VP9). Without extension: a folder of 00001.jpg, ..."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_bytes(encode(self.frames, container=FORMATS[path.suffix]))
            return
        path.mkdir()
        for number, frame in enumerate(self.frames, start=1):
            Image.fromarray(frame).save(path / f"{number:05d}.jpg", quality=90)


@dataclass(frozen=True, slots=True)
class Written:
    """The written annotation files, relative to the root, as a DataSpec names them."""

    train: str
    val: str
    classes: str | None = None
