"""Frames are those that the ffmpeg program shows, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from reskd.data.decode.dispatch import read_frames
from tests.support.mp4_boxes import edit_list, put_box
from tests.support.shown_videos import MATRICES, Film, join, write_films

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None,
    reason="the ffmpeg program is not installed; test_presentation.py knows the same answers by construction",
)


def shown_by_ffmpeg(path: Path, shape: tuple[int, ...], *, filters: str = "null") -> np.ndarray:
    command = ["ffmpeg", "-v", "error", "-i", path, "-vf", filters, "-vsync", "passthrough"]
    done = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, *shape)


def assert_shown_alike(path: Path, *, filters: str = "null") -> None:
    ours = read_frames(path, range)
    theirs = shown_by_ffmpeg(path, ours.shape[1:], filters=filters)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean(axis=(1, 2, 3)).max() < 4


@pytest.mark.parametrize("matrix", MATRICES)
def test_orientation(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    assert_shown_alike(write_films(tmp_path / "laid.mp4", Film(matrix=matrix)))


def test_square_pixels(tmp_path: Path) -> None:
    assert_shown_alike(write_films(tmp_path / "wide.mp4", Film(pixel_ratio=Fraction(3, 2))), filters="scale=iw*sar:ih")


@pytest.mark.parametrize(
    "films",
    [
        (Film(width=48, height=32, is_default=True), Film(is_default=True)),
        (Film(width=48, height=32), Film()),
        (Film(num_frames=1, codec="mjpeg", pix_fmt="yuvj420p", width=48, height=32, is_default=False), Film()),
        (Film(is_default=False), Film(width=48, height=32, is_default=True)),
    ],
)
def test_the_chosen_stream(tmp_path: Path, films: tuple[Film, Film]) -> None:
    assert_shown_alike(write_films(tmp_path / "several.mkv", *films))


def test_frames_of_another_size(tmp_path: Path) -> None:
    wide = write_films(tmp_path / "wide.webm", Film(codec="libvpx"))
    high = write_films(tmp_path / "high.webm", Film(codec="libvpx", width=64, height=96))
    assert_shown_alike(join(tmp_path / "changing.webm", wide, high))


def test_an_edit_list(tmp_path: Path) -> None:
    path = write_films(tmp_path / "edited.mp4", Film(num_frames=20, codec="mpeg4"))
    with av.open(str(path)) as container:
        one = round(1 / 25 / container.streams.video[0].time_base)
    put_box(path, [b"moov", b"trak", b"edts", b"elst"], edit_list((200, 15 * one, 1), (200, 5 * one, 1)))
    assert_shown_alike(path)
