"""Frames by number, proved by the number burnt into each frame and by decoding the whole file."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import struct
import wave
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.data.decode.dispatch import probe, read_frames, survey
from reskd.errors import BadInput, DecodeError, VideoOpenError, VideoReadError
from tests.support.video_files import (
    frame_number,
    frame_numbers,
    write_video,
)
from tests.support.video_kinds import CUTS, NUM_FRAMES, VIDEOS, decode_everything, index_patterns


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("name", [*VIDEOS, "one_frame.mp4"])
def test_each_index_returns_the_frame_with_that_number_whatever_the_encoding(videos: Path, name: str) -> None:
    everything = decode_everything(videos / name)
    assert frame_numbers(everything) == list(range(len(everything)))
    for indices in index_patterns(len(everything)):
        np.testing.assert_array_equal(read_frames(videos / name, indices), everything[indices])


@pytest.mark.parametrize("name", CUTS)
def test_index_i_of_a_stream_copied_cut_is_the_ith_frame_of_a_sequential_decode(videos: Path, name: str) -> None:
    everything = decode_everything(videos / name)
    for indices in index_patterns(len(everything)):
        np.testing.assert_array_equal(read_frames(videos / name, indices), everything[indices])
        np.testing.assert_array_equal(read_frames(videos / name, lambda _, i=indices: i), everything[indices])
    assert probe(videos / name).num_frames == len(everything)


def test_frames_that_an_edit_list_hides_do_not_count(videos: Path) -> None:
    path = videos / "edit_list.mp4"
    assert b"elst" in path.read_bytes()
    assert [packet.is_discard for packet in packets_of(path)].count(True) == 7  # frames 30 to 36
    source = packets_of(videos / "b_frames.mp4")
    numbers = [packet.pts // source[0].duration for packet in source]
    assert frame_numbers(read_frames(path, range)) == sorted(numbers[30:75])[7:]


def test_leading_frames_of_an_open_gop_do_not_count_where_the_file_begins_with_it(videos: Path) -> None:
    key, *leading = packets_of(videos / "open_gop.mp4")[17:21]
    assert key.is_keyframe
    assert all(packet.pts < key.pts for packet in leading)
    for name in ("headless_open_gop.mp4", "headless_open_gop.mkv"):
        assert frame_numbers(read_frames(videos / name, range(4))) == [20, 21, 22, 23]


class Last:
    """Asks for the last frame and remembers how many there were said to be."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def __call__(self, num_frames: int) -> list[int]:
        self.told.append(num_frames)
        return [num_frames - 1]


def test_a_function_of_indices_gets_the_number_of_frames(videos: Path) -> None:
    last = Last()
    assert frame_number(read_frames(videos / "open_gop.mp4", last)[0]) == NUM_FRAMES - 1
    assert last.told == [NUM_FRAMES]


def test_a_function_of_indices_is_asked_again_when_frames_are_dropped_at_a_cut(videos: Path) -> None:
    last = Last()
    everything = decode_everything(videos / "headless_open_gop.mkv")
    frames = read_frames(videos / "headless_open_gop.mkv", last)
    assert last.told == [45, 42] == [45, len(everything)]
    np.testing.assert_array_equal(frames[0], everything[-1])


@given(indices=st.lists(st.integers(0, NUM_FRAMES - 1), min_size=1, max_size=10))
def test_any_indices_in_any_order_come_back_in_that_order(videos: Path, indices: list[int]) -> None:
    assert frame_numbers(read_frames(videos / "open_gop.mp4", indices)) == indices


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_frames_are_turned_as_the_display_matrix_in_the_file_says(tmp_path: Path, rotation: int) -> None:
    path = write_video(tmp_path / "turned.mp4", num_frames=3, rotation=rotation)
    content = path.read_bytes()
    matrix = struct.unpack_from(">9i", content, content.index(b"tkhd") + 44)
    across_x, down_x, across_y, down_y = (matrix[cell] / 65536 for cell in (0, 1, 3, 4))
    stored = decode_everything(path)[0]
    shown = read_frames(path, [0])[0]
    assert (probe(path).height, probe(path).width) == shown.shape[:2]
    for x, y in [(0, 0), (5, 40), (90, 3), (95, 63)]:
        column, row = across_x * x + across_y * y, down_x * x + down_y * y
        # A mirrored axis counts 0, -1, -2 ... from the far edge, where arrays count -1, -2, -3 ...
        column, row = column - (across_x + across_y < 0), row - (down_x + down_y < 0)
        np.testing.assert_array_equal(shown[round(row), round(column)], stored[y, x])


def test_probe_gives_the_size_of_the_frames_and_the_codec(videos: Path) -> None:
    info = probe(videos / "odd_size.mp4")
    assert (info.num_frames, info.height, info.width, info.codec) == (NUM_FRAMES, 49, 65, "h264")
    assert read_frames(videos / "odd_size.mp4", [3]).shape == (1, 49, 65, 3)


@pytest.mark.parametrize("index", [NUM_FRAMES, 10**9, -1])
def test_an_index_outside_the_video_is_an_error_that_names_it(videos: Path, index: int) -> None:
    with pytest.raises(VideoReadError, match=rf"closed_gop\.mp4: frame {index} was asked for"):
        read_frames(videos / "closed_gop.mp4", [0, index])


def test_a_truncated_file_claims_all_frames_and_gives_only_those_that_are_there(videos: Path) -> None:
    path = videos / "truncated.mp4"
    assert probe(path).num_frames == NUM_FRAMES
    found = survey(path, quick=False)
    assert found.num_claimed == NUM_FRAMES
    assert survey(path, quick=True).num_decoded == found.num_decoded < NUM_FRAMES
    assert frame_numbers(read_frames(path, range(found.num_decoded))) == list(range(found.num_decoded))
    for index in range(found.num_decoded, NUM_FRAMES):
        with pytest.raises(VideoReadError, match=rf"truncated\.mp4: frame {index} was asked for"):
            read_frames(path, [index])


def test_of_a_file_overwritten_in_the_middle_a_frame_is_right_or_an_error(videos: Path) -> None:
    path = videos / "overwritten.mp4"
    with pytest.raises(VideoReadError, match=r"overwritten\.mp4: frame \d+"):
        read_frames(path, range(NUM_FRAMES))
    readable = []
    for index in range(NUM_FRAMES):
        try:
            assert frame_number(read_frames(path, [index])[0]) == index
        except VideoReadError:
            continue
        readable.append(index)
    assert {0, NUM_FRAMES - 1} <= set(readable)  # the last one only by seeking past the damage
    found = survey(path, quick=False)
    assert found.num_decoded < found.num_claimed == NUM_FRAMES
    assert "Invalid data" in found.reason


def silence(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("empty.mp4", lambda path: path.write_bytes(b"")),
        ("noise.mp4", lambda path: path.write_bytes(random.Random(0).randbytes(5000))),
        ("text.mp4", lambda path: path.write_text("not a video\n" * 100)),
        ("text.txt", lambda path: path.write_text("not a video\n" * 100)),
        ("sound.wav", silence),
    ],
)
def test_what_is_not_a_video_is_an_open_error_that_names_it(tmp_path: Path, name: str, write) -> None:
    write(tmp_path / name)
    for call in (partial(read_frames, indices=[0]), probe, partial(survey, quick=False), partial(survey, quick=True)):
        with pytest.raises(VideoOpenError, match=name):
            call(tmp_path / name)


def test_a_video_stream_without_frames_is_an_open_error_to_a_reader_and_a_finding_to_a_survey(tmp_path: Path) -> None:
    path = write_video(tmp_path / "no_frames.avi", num_frames=0)
    for call in (partial(read_frames, indices=[0]), probe):
        with pytest.raises(VideoOpenError, match=r"no_frames\.avi: its video stream has no frames"):
            call(path)
    for quick in (True, False):
        found = survey(path, quick=quick)
        assert (found.num_claimed, found.num_decoded) == (0, 0)
        assert found.reason


@given(seed=st.integers(0, 2**32), name=st.sampled_from(["moov_first.mp4", "transport_stream.ts", "open_gop.mkv"]))
def test_damaged_bytes_raise_decode_errors_and_nothing_else(videos: Path, seed: int, name: str) -> None:
    rng = random.Random(seed)
    content = bytearray((videos / name).read_bytes())
    for _ in range(rng.choice([1, 10, 100])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path = videos / f"damaged_{name}"
    path.write_bytes(content[: rng.choice([len(content), rng.randrange(1, len(content))])])
    try:
        assert survey(path, quick=False).num_claimed >= 0
        assert len(read_frames(path, [0, 40, 79])) == 3
    except DecodeError:
        return  # pytest shows any other error


def test_file_system_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_frames(tmp_path / "missing.mp4", [0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_permission_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "locked.mp4", num_frames=1)
    path.chmod(0)
    with pytest.raises(PermissionError):
        read_frames(path, [0])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and does not read")
def test_a_file_that_opens_and_does_not_read_is_an_input_output_error() -> None:
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_frames(Path("/proc/self/mem"), [0])
    assert caught.value.errno == errno.EIO
    assert type(caught.value) is OSError


def test_names_with_colons_percent_signs_and_bytes_that_are_no_text_are_read(tmp_path: Path) -> None:
    for name in ["http:clip.mp4", "clip%03d.mp4", os.fsdecode(b"\xff\xfe.mp4")]:
        path = write_video(tmp_path / "plain.mp4", num_frames=2).rename(tmp_path / name)
        assert frame_numbers(read_frames(path, [1])) == [1]


def test_an_unknown_backend_is_bad_input_that_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"pyav.*'opencv'"):
        read_frames(tmp_path / "any.mp4", [0], backend="opencv")


def number_read(path: Path, index: int) -> int:
    return frame_number(read_frames(path, [index])[0])


def test_forked_processes_read_after_the_parent_has_read(videos: Path) -> None:
    read = partial(number_read, videos / "b_frames.mp4")
    assert read(5) == 5
    with multiprocessing.get_context("fork").Pool(2) as processes:
        assert processes.map_async(read, range(NUM_FRAMES)).get(timeout=60) == list(range(NUM_FRAMES))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_a_hundred_reads_good_and_bad_leave_no_file_open(videos: Path) -> None:
    def read_all() -> None:
        for name in ("open_gop.mp4", "edit_list.mp4", "intra_refresh.mp4"):
            read_frames(videos / name, [0, 30])
        for name in ("truncated.mp4", "overwritten.mp4"):
            with pytest.raises(VideoReadError):
                read_frames(videos / name, range(NUM_FRAMES))

    read_all()
    num_open = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read_all()
    assert len(os.listdir("/proc/self/fd")) == num_open
