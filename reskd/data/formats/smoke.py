"""Draws a few videos in any annotation format: enough for two training steps and one evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reskd.data.formats.catalogue import FORMATS
from reskd.data.formats.drawn import DrawnClip
from reskd.data.formats.rows import Split
from reskd.data.synthetic import CLASSES, draw_clip
from reskd.recipe import DataSpec

NUM_CLASSES = 3
NUM_VIDEOS = {"train": 4, "val": 3}


def make_smoke(folder: Path, *, like: DataSpec) -> DataSpec:
    """Write four training and three validation clips in the annotation format of `like`. Returns their DataSpec.

    Each of three classes is in both splits. The first video of a split has two labels if the format allows it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = FORMATS[like.annotations].write(folder, [*_draw("train"), *_draw("val")])
    return DataSpec(
        name="smoke",
        root=str(folder),
        annotations=like.annotations,
        train=written.train,
        val=written.val,
        classes=written.classes,
    )


def _draw(split: Split) -> list[DrawnClip]:
    first = 0 if split == "train" else NUM_VIDEOS["train"]
    clips = []
    for place in range(NUM_VIDEOS[split]):
        label = place % NUM_CLASSES
        labels = (CLASSES[label], CLASSES[1]) if place == 0 else (CLASSES[label],)
        frames = draw_clip(label, rng=np.random.default_rng([int(split == "val"), place]))
        clips.append(DrawnClip(split, first + place, labels, frames))
    return clips
