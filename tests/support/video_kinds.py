"""Every kind of video file that the decoders are tried on, its name telling what is special about it."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tests.support.video_files import write_video

NUM_FRAMES = 80
UNEVEN_TIMES = [number * 40 + 1000 * (number // 7) + 13 * (number % 3) for number in range(NUM_FRAMES)]
OPEN_GOP = "keyint=20:min-keyint=20:bframes=3:open-gop=1:b-adapt=0"
"""b-adapt=0, or every group of pictures happens to end before the next key frame."""
X265 = {"x265-params": "keyint=20:min-keyint=20:log-level=none:pools=1:frame-threads=1"}
VIDEOS = {
    "closed_gop.mp4": partial(write_video, x264="keyint=20:min-keyint=20:bframes=0"),
    "b_frames.mp4": partial(write_video, x264="keyint=30:min-keyint=30:bframes=3:b-pyramid=normal"),
    "open_gop.mp4": partial(write_video, x264=OPEN_GOP),
    "open_gop.mkv": partial(write_video, x264=OPEN_GOP),
    "all_key_frames.mp4": partial(write_video, x264="keyint=1"),
    "intra_refresh.mp4": partial(write_video, x264="keyint=20:bframes=0:intra-refresh=1"),
    "uneven_times.mp4": partial(write_video, times_ms=UNEVEN_TIMES),
    "uneven_times.mkv": partial(write_video, times_ms=UNEVEN_TIMES),
    "fragmented.mp4": partial(write_video, muxer={"movflags": "frag_keyframe+empty_moov"}),
    "transport_stream.ts": partial(write_video, x264=OPEN_GOP),
    "odd_size.mp4": partial(write_video, height=49, width=65, pix_fmt="yuv444p"),
    "hevc.mp4": partial(write_video, codec="libx265", options=X265),
    "mpeg4_b_frames.avi": partial(write_video, codec="mpeg4", options={"bf": "2", "g": "20", "q": "3"}),
    "mpeg4.mp4": partial(write_video, codec="mpeg4", options={"g": "20", "q": "3"}),
    "wmv2.wmv": partial(write_video, codec="wmv2", options={"g": "20", "q": "3"}),
    "mpeg4.avi": partial(write_video, codec="mpeg4", options={"bf": "0", "g": "20", "q": "3"}),
    "motion_jpeg.avi": partial(write_video, codec="mjpeg", pix_fmt="yuvj420p", options={"q": "3"}),
    "motion_jpeg.mkv": partial(write_video, codec="mjpeg", pix_fmt="yuvj420p", options={"q": "3"}),
    "mpeg2.ts": partial(write_video, codec="mpeg2video", options={"bf": "2", "g": "20", "q": "3"}),
    "mpeg2.mpg": partial(write_video, codec="mpeg2video", options={"bf": "2", "g": "20", "q": "3"}),
    "ten_bit.mp4": partial(write_video, pix_fmt="yuv420p10le"),
    "ten_bit_hevc.mp4": partial(write_video, codec="libx265", pix_fmt="yuv420p10le", options=X265),
    "ffv1.mkv": partial(write_video, codec="ffv1"),
    "vp8.webm": partial(write_video, codec="libvpx", options={"g": "20", "cpu-used": "8", "deadline": "realtime"}),
    "vp9.webm": partial(write_video, codec="libvpx-vp9", options={"g": "20", "cpu-used": "8", "deadline": "realtime"}),
}
CUTS = ["edit_list.mp4", "headless_open_gop.mp4", "headless_open_gop.mkv"]


def decode_everything(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def index_patterns(num_frames: int) -> list[list[int]]:
    rng = random.Random(7)
    return [
        [int((i + 0.5) * num_frames / 16) for i in range(16)],
        [rng.randrange(num_frames) for _ in range(16)],
        sorted((rng.randrange(num_frames) for _ in range(6)), reverse=True) * 2,
        list(range(max(0, num_frames - 4), num_frames)),
        list(range(num_frames)),
        [num_frames // 2],
    ]
