"""Every kind of file that PyAV's own encoders make, by every backend: the right frame, or refused by name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from reskd.data.decode import read_frames
from reskd.errors import VideoOpenError
from tests.video_files import frame_numbers, write_video

NUM_FRAMES = 50
X265 = "keyint=20:min-keyint=20:log-level=none:pools=1:frame-threads=1"
OPEN_GOP = "keyint=20:min-keyint=20:bframes=3:open-gop=1:b-adapt=0"
VP = {"g": "20", "cpu-used": "8", "deadline": "realtime"}
ASP = {"bf": "2", "g": "20", "q": "3"}

KINDS = {
    "h264.mp4": partial(write_video, x264="keyint=20:min-keyint=20:bframes=3"),
    "h264_open_gop.mp4": partial(write_video, x264=OPEN_GOP),
    "h264_10_bit.mp4": partial(write_video, pix_fmt="yuv420p10le"),
    "h264_turned.mp4": partial(write_video, rotation=90),
    "h264.mkv": write_video,
    "h264.ts": partial(write_video, x264=OPEN_GOP),
    "hevc.mp4": partial(write_video, codec="libx265", options={"x265-params": X265}),
    "hevc_10_bit.mkv": partial(write_video, codec="libx265", options={"x265-params": X265}, pix_fmt="yuv420p10le"),
    "mpeg4.mp4": partial(write_video, codec="mpeg4", options={"g": "20", "q": "3"}),
    "mpeg4_b_frames.avi": partial(write_video, codec="mpeg4", options=ASP),
    "mpeg2.mpg": partial(write_video, codec="mpeg2video", options=ASP),
    "vp8.webm": partial(write_video, codec="libvpx", options=VP),
    "vp9.webm": partial(write_video, codec="libvpx-vp9", options=VP),
    "mjpeg.avi": partial(write_video, codec="mjpeg", options={"q": "3"}, pix_fmt="yuvj420p"),
    "wmv2.wmv": partial(write_video, codec="wmv2", options={"g": "20", "q": "3"}),
}
DECORD_READS = {"h264.mp4", "h264.mkv", "mpeg4.mp4", "mjpeg.avi", "vp9.webm", "h264_10_bit.mp4"}
"""At the least: refusing everything would be right, and of no use."""
PATTERNS = (
    range(NUM_FRAMES),
    [(2 * i + 1) * NUM_FRAMES // 32 for i in range(16)],
    [49, 49, 41, 23, 20, 19, 0],
    [int(i) for i in np.random.default_rng(0).integers(0, NUM_FRAMES, 16)],
    range(NUM_FRAMES - 4, NUM_FRAMES),
)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("name", KINDS)
def test_a_backend_gives_the_right_frames_or_refuses_the_file_by_name(tmp_path: Path, name: str, backend: str) -> None:
    if backend == "decord":
        pytest.importorskip("decord")
    path = KINDS[name](tmp_path / name, num_frames=NUM_FRAMES)
    if backend == "decord" and is_refused(path):
        assert name not in DECORD_READS
        return
    for pattern in PATTERNS:
        frames = read_frames(path, pattern, backend=backend)
        upright = np.rot90(frames, 3, axes=(1, 2)) if "turned" in name else frames
        assert frame_numbers(upright) == list(pattern)


def is_refused(path: Path) -> bool:
    """Whether decord is refused on a file; the message must name it and the way out."""
    try:
        read_frames(path, [0], backend="decord")
    except VideoOpenError as error:
        return f"{path}: decord" in str(error) and "pyav" in str(error)
    return False
