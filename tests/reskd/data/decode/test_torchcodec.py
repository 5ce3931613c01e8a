"""torchcodec as a backend: right, or refused by name, on every kind of file; never another frame without a word."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from reskd.data.decode.dispatch import read_frames, survey
from reskd.errors import BadInput, DecodeError
from tests.support.video_files import frame_numbers, write_video
from tests.support.video_kinds import CUTS, NUM_FRAMES, VIDEOS, decode_everything, index_patterns

SURE = [
    *["closed_gop.mp4", "b_frames.mp4", "open_gop.mp4", "open_gop.mkv", "all_key_frames.mp4", "uneven_times.mp4"],
    *["uneven_times.mkv", "odd_size.mp4", "hevc.mp4", "ten_bit.mp4", "vp8.webm", "vp9.webm", "edit_list.mp4"],
]
"""What torchcodec reads right; a check that refused everything would pass the test above them."""


def installed() -> bool:
    try:
        import torchcodec
    except Exception:  # a build for another torch raises what it likes
        return False
    return torchcodec.ffmpeg_major_version is not None


needs_it = pytest.mark.skipif(not installed(), reason="torchcodec, or FFmpeg's shared libraries, are not installed")


@needs_it
@pytest.mark.parametrize("name", [*VIDEOS, *CUTS])
def test_each_frame_is_the_one_asked_for_or_an_error_names_the_file(videos: Path, name: str) -> None:
    everything = frame_numbers(decode_everything(videos / name))
    for numbers in index_patterns(len(everything)):
        found = frames_or_error(videos / name, numbers)
        if isinstance(found, str):
            assert name in found
            assert "use data.decode: pyav" in found
            assert name not in SURE, found
        else:
            assert found == [everything[number] for number in numbers]


def frames_or_error(path: Path, numbers: list[int]) -> list[int] | str:
    try:
        return frame_numbers(read_frames(path, numbers, backend="torchcodec"))
    except DecodeError as error:
        return str(error)


@needs_it
def test_frames_are_pyavs_to_the_rounding_and_turned_ones_come_upright(videos: Path, tmp_path: Path) -> None:
    turned = write_video(tmp_path / "turned:90.mp4", num_frames=3, rotation=90)
    for path in (videos / "closed_gop.mp4", turned):
        exact, found = (read_frames(path, [2, 0], backend=backend) for backend in ("pyav", "torchcodec"))
        assert found.dtype == np.uint8
        assert found.shape == exact.shape
        assert np.abs(exact.astype(int) - found).mean() < 1


@needs_it
def test_a_function_of_indices_gets_the_number_of_frames_and_one_outside_is_named(videos: Path) -> None:
    path = videos / "closed_gop.mp4"
    assert frame_numbers(read_frames(path, lambda n: [n - 1, 0], backend="torchcodec")) == [NUM_FRAMES - 1, 0]
    with pytest.raises(DecodeError, match=rf"frame {NUM_FRAMES} was asked for"):
        read_frames(path, [NUM_FRAMES], backend="torchcodec")
    assert survey(path, quick=False, backend="torchcodec").num_decoded == NUM_FRAMES


@needs_it
def test_damaged_files_raise_decode_errors_and_missing_ones_stay_missing(videos: Path) -> None:
    for name in ("truncated.mp4", "overwritten.mp4"):
        with pytest.raises(DecodeError, match=name):
            read_frames(videos / name, range(NUM_FRAMES), backend="torchcodec")
    with pytest.raises(FileNotFoundError):
        read_frames(videos / "none.mp4", [0], backend="torchcodec")


def test_without_torchcodec_its_name_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=1)
    monkeypatch.setitem(sys.modules, "torchcodec", None)  # as where it is not installed
    with pytest.raises(BadInput, match=r"'torchcodec', which is not installed; use pyav, or pip install torchcodec"):
        read_frames(path, [0], backend="torchcodec")


@needs_it
def test_without_ffmpegs_libraries_it_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=1)
    monkeypatch.setattr("torchcodec.ffmpeg_major_version", None)  # what it says where it found none
    with pytest.raises(BadInput, match="no shared libraries of FFmpeg; use pyav, or install FFmpeg"):
        read_frames(path, [0], backend="torchcodec")
