"""Files with flipped bits: a wrong frame is an error, and a read by seeking equals a decode from the start."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reskd.data.decode import pyav
from reskd.data.decode.dispatch import read_frames, survey
from reskd.errors import DecodeError
from tests.support.video_files import write_video
from tests.support.video_kinds import CUTS, VIDEOS, decode_everything

FIGHTS = Path(__file__).parents[5] / "shared" / "data" / "fights"
ROUNDING = 2.0
SOUGHT = [
    *("closed_gop.mp4", "b_frames.mp4", "open_gop.mp4", "open_gop.mkv", "intra_refresh.mp4", "uneven_times.mp4"),
    *("fragmented.mp4", "hevc.mp4", "ten_bit.mp4", "vp9.webm", "edit_list.mp4", "real"),
]
"""Files in which a read may seek; "real" is one of the real clips. (In VP8 and FFV1, a damaged frame has whatever the
decoder's memory held before, so it differs from decode to decode.)"""


def flipped(source: Path, target: Path, *, seed: int, num_bits: int) -> Path:
    """A copy in which some bits are the other way round."""
    rng, content = random.Random(seed), bytearray(source.read_bytes())
    for _ in range(num_bits):
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    target.write_bytes(content)
    return target


def decoded(path: Path) -> list[tuple[NDArray[np.uint8], bool]]:
    """(frame, whether FFmpeg marks it as damaged) from the start to the first packet that does not decode."""
    found = []
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # several give other frames of a damaged file in each run
        try:
            for packet in container.demux(stream):
                found += [(frame.to_ndarray(format="rgb24"), frame.is_corrupt) for frame in packet.decode()]
        except (av.FFmpegError, IndexError):
            pass
    return found


def first_marked(path: Path) -> int | None:
    return next((number for number, (_, is_marked) in enumerate(decoded(path)) if is_marked), None)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def frames_or_none(path: Path, numbers: list[int]) -> NDArray[np.uint8] | None:
    try:
        return read_frames(path, numbers)
    except DecodeError:
        return None


@pytest.mark.parametrize("name", [*VIDEOS, *CUTS])
def test_no_good_file_is_called_damaged(videos: Path, name: str) -> None:
    assert not survey(videos / name, quick=False).reason


def test_each_frame_is_the_undamaged_one_or_an_error(tmp_path: Path) -> None:
    """A frame may depend on one that is shown after it, so B-frames are damaged before the frame that is marked."""
    good = write_video(tmp_path / "good.mp4", num_frames=24, x264="keyint=12:min-keyint=12:bframes=3:b-adapt=0")
    right, num_marked, num_refused_before = decode_everything(good), 0, 0
    for seed in range(24):
        path = flipped(good, tmp_path / "flipped.mp4", seed=seed, num_bits=1)
        marked = first_marked(path)
        if marked is None:
            continue
        num_marked += 1
        assert survey(path, quick=False).num_decoded == marked
        for number in range(max(0, marked - 4), min(24, marked + 2)):
            found = frames_or_none(path, [number])
            assert found is None or difference(found[0], right[number]) == 0, (seed, number)
            num_refused_before += found is None and number < marked
    assert num_marked > 10
    assert num_refused_before > 5


def test_a_pack_takes_no_frame_of_a_file_with_a_damaged_one(tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.mp4", num_frames=24)
    paths = (flipped(good, tmp_path / f"{seed}.mp4", seed=seed, num_bits=1) for seed in range(60))
    path = next(path for path in paths if first_marked(path) is not None)
    with pytest.raises(DecodeError, match="frames one is damaged"):
        pyav.read_once(path, lambda num_total: [num_total - 1], lambda image: image)


@given(seed=st.integers(0, 2**32), num_bits=st.sampled_from([1, 3, 20]), name=st.sampled_from(SOUGHT))
def test_a_read_by_seeking_equals_a_decode_from_the_start_or_is_an_error(
    videos: Path, seed: int, num_bits: int, name: str
) -> None:
    rng = random.Random(seed)
    if name == "real" and not FIGHTS.is_dir():
        return
    source = rng.choice(sorted(FIGHTS.glob("*ight/*.mp4"))) if name == "real" else videos / name
    path = flipped(source, videos / f"flipped_{source.name}", seed=seed, num_bits=num_bits)
    numbers = sorted(rng.sample(range(30), 3))
    found = frames_or_none(path, numbers)
    if found is None or survey(path, quick=False).reason:
        return  # the check names it; a seek may go past the damage where a decode from the start ends or drops a frame
    right = decoded(path)
    for number, frame in zip(numbers, found, strict=True):
        if frame.shape == right[number][0].shape:  # else it is shown in another size than it is stored
            assert difference(frame, right[number][0]) <= ROUNDING
