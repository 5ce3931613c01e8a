"""decord as a backend: right, or refused by name, on every kind of file; never another frame without a word."""

from __future__ import annotations

import platform
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from reskd.data.decode.dispatch import read_frames, survey
from reskd.errors import DecodeError
from tests.support.forms import forms
from tests.support.shown_videos import ONE, Film, write_films
from tests.support.video_files import frame_numbers, write_video
from tests.support.video_kinds import CUTS, NUM_FRAMES, VIDEOS, decode_everything, index_patterns

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="decord has no wheel for this machine")

SURE = ["closed_gop.mp4", "b_frames.mp4", "all_key_frames.mp4", "uneven_times.mp4", "ten_bit.mp4", "vp9.webm"]
"""What decord reads right; a check that refused everything would pass the test above them."""
REFUSED = ["hevc.mp4", "mpeg4_b_frames.avi", "transport_stream.ts", "edit_list.mp4"]


@pytest.mark.parametrize("name", forms([*VIDEOS, *CUTS], light=[*SURE, *REFUSED, "open_gop.mp4"]))
def test_each_frame_is_the_one_asked_for_or_an_error_names_the_file(videos: Path, name: str) -> None:
    everything = frame_numbers(decode_everything(videos / name))
    for numbers in index_patterns(len(everything)):
        found = frames_or_error(videos / name, numbers)
        if isinstance(found, str):
            assert name in found
            assert name not in SURE, found
        else:
            assert found == [everything[number] for number in numbers]


def frames_or_error(path: Path, numbers: list[int]) -> list[int] | str:
    try:
        return frame_numbers(read_frames(path, numbers, backend="decord"))
    except DecodeError as error:
        return str(error)


@pytest.mark.parametrize("name", forms(REFUSED, light=["hevc.mp4", "edit_list.mp4"]))
def test_kinds_that_decord_is_known_to_read_wrongly_are_refused_with_the_way_out(videos: Path, name: str) -> None:
    everything = decode_everything(videos / name)
    found = [frames_or_error(videos / name, numbers) for numbers in index_patterns(len(everything))]
    assert any(isinstance(answer, str) and "use data.decode: pyav" in answer for answer in found)


def test_a_survey_tells_of_a_file_that_decord_cannot_read_right(videos: Path) -> None:
    found = survey(videos / "transport_stream.ts", quick=False, backend="decord")
    assert found.num_decoded == 0
    assert "transport_stream.ts" in found.reason
    assert survey(videos / "closed_gop.mp4", quick=False, backend="decord").num_decoded == NUM_FRAMES


def test_turned_frames_come_upright_as_pyavs_do(tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", num_frames=3, rotation=90)
    exact, found = read_frames(path, [0, 2]), read_frames(path, [0, 2], backend="decord")
    assert found.shape == exact.shape
    assert np.abs(exact.astype(int) - found).mean() < 2


@pytest.mark.parametrize(
    ("film", "said"),
    [
        (Film(matrix=(-ONE, 0, 0, ONE)), "returns another picture"),
        (Film(matrix=(0, ONE, ONE, 0)), "returns another picture"),
        (Film(pixel_ratio=Fraction(2)), "shows it in 96x64 pixels, where the file says 192x64"),
    ],
)
def test_a_file_that_decord_does_not_show_as_it_says_is_refused(tmp_path: Path, film: Film, said: str) -> None:
    path = write_films(tmp_path / "shown.mp4", film)
    with pytest.raises(DecodeError, match=rf"shown\.mp4: decord {said}.*; use data\.decode: pyav"):
        read_frames(path, [0, 2], backend="decord")


def test_a_function_of_indices_gets_the_number_of_frames_and_one_outside_is_named(videos: Path) -> None:
    path = videos / "closed_gop.mp4"
    assert frame_numbers(read_frames(path, lambda n: [n - 1, 0], backend="decord")) == [NUM_FRAMES - 1, 0]
    with pytest.raises(DecodeError, match=rf"frame {NUM_FRAMES} was asked for"):
        read_frames(path, [NUM_FRAMES], backend="decord")


def test_damaged_files_raise_decode_errors(videos: Path) -> None:
    for name in ("truncated.mp4", "overwritten.mp4"):
        with pytest.raises(DecodeError, match=name):
            read_frames(videos / name, range(NUM_FRAMES), backend="decord")
