"""Clips that are folders of numbered image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.video_files import numbered_frame

HEIGHT, WIDTH = 48, 64


def write_frame(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix != ".png" else {}))
    return path


def write_clip(
    folder: Path, *, num_frames: int = 12, name: str = "img_{}.png", first: int = 1, height: int = HEIGHT
) -> Path:
    """Frame i carries the number i, under a file name that counts from ``first``."""
    for number in range(num_frames):
        pixels = numbered_frame(number, height=height, width=WIDTH)
        write_frame(folder / name.format(first + number), pixels)
    return folder
