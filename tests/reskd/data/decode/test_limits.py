"""Files that are too large are refused by name, and large frames are resized as they come."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from reskd.data.decode import limits
from reskd.data.decode.dispatch import probe, read_frames, survey
from reskd.data.transforms import resize_short_side, small_image
from reskd.errors import VideoOpenError
from tests.support.frame_folders import write_clip
from tests.support.video_files import write_video

READERS: list[Callable[[Path], object]] = [
    partial(read_frames, indices=[0]),
    probe,
    partial(survey, quick=True),
    partial(survey, quick=False),
]


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("MAX_PIXELS", 95 * 64, "96x64 = 6,144 pixels, more than 6,080"),
        ("MAX_FRAMES", 9, "at least 10 frames, more than 9"),
        ("MAX_SECONDS", 0.3, "0 s, more than 0 s"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_above_a_limit_is_refused_with_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, limit: str, value: float, said: str
) -> None:
    path = write_video(tmp_path / f"large{suffix}", num_frames=10)
    for read in READERS:
        read(path)
    monkeypatch.setattr(limits, limit, value)
    for read in READERS:
        with pytest.raises(VideoOpenError, match=rf"large\{suffix}.*{said}"):
            read(path)


def test_a_folder_of_large_frames_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip", num_frames=3)
    monkeypatch.setattr(limits, "MAX_PIXELS", 100)
    with pytest.raises(VideoOpenError, match="pixels, more than 100"):
        read_frames(clip, [0])


@pytest.mark.parametrize("resample", ["antialias", "opencv"])
@pytest.mark.parametrize("size", [(64, 96), (97, 55), (40, 64)])
def test_frames_resized_as_they_come_are_those_resized_together(
    tmp_path: Path, resample, size: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=12, height=size[0], width=size[1], pix_fmt="yuv444p")
    numbers = [3, 0, 11, 3, 7]
    keep = partial(small_image, short_side=48, resample=resample)
    frames = torch.from_numpy(read_frames(path, numbers)).permute(0, 3, 1, 2)
    together = resize_short_side(frames, short_side=48, resample=resample).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(read_frames(path, numbers, keep=keep), together.numpy())


def test_a_clip_of_large_frames_takes_the_memory_of_a_few_of_them(tmp_path: Path) -> None:
    """32 frames of 384x384 pixels: 14 MB together, 0.4 MB each."""
    path = write_video(tmp_path / "a.mp4", num_frames=32, height=384, width=384, x264="keyint=8:preset=ultrafast")
    tracemalloc.start()
    try:
        read_frames(path, range(32), keep=partial(small_image, short_side=64, resample="antialias"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3e6
