"""Small videos written by the tests; each frame carries its own number as bright and dark columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

NUM_BITS = 10
DARK, BRIGHT = 30, 225
X264_PARAMS = "mbtree=0:scenecut=0:threads=1"
"""With macroblock trees the same frames give other bytes in each process."""


def numbered_frame(number: int, *, height: int, width: int) -> NDArray[np.uint8]:
    """One RGB frame (H, W, 3): the number's bits on top, the highest left, above a moving pattern."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.sin((columns + 3 * number) / 5) + np.cos((rows - 2 * number) / 4)
    frame = np.stack([128 + 50 * waves, 128 - 40 * waves, 118 + 4 * (number % 13) + 0 * waves], axis=-1)
    edges = np.linspace(0, width, NUM_BITS + 1).astype(int)
    for bit, (left, right) in enumerate(pairwise(edges)):
        is_set = number >> (NUM_BITS - 1 - bit) & 1
        frame[: height // 2, left:right] = BRIGHT if is_set else DARK
    return frame.astype(np.uint8)


def frame_number(frame: NDArray[np.uint8]) -> int:
    """The number burnt into an upright frame (H, W, 3), after any compression."""
    height, width, _ = frame.shape
    edges = np.linspace(0, width, NUM_BITS + 1)
    number = 0
    for left, right in pairwise(edges):
        middle = frame[height // 8 : height * 3 // 8, round(left + 1.5) : round(right - 1.5)]
        number = 2 * number + int(middle.mean() > (DARK + BRIGHT) / 2)
    return number


def frame_numbers(frames: Iterable[NDArray[np.uint8]]) -> list[int]:
    return [frame_number(frame) for frame in frames]


def write_video(
    path: Path,
    *,
    num_frames: int,
    height: int = 64,
    width: int = 96,
    codec: str = "libx264",
    x264: str = "keyint=20:min-keyint=20",
    options: Mapping[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    rotation: float = 0.0,
    muxer: Mapping[str, str] | None = None,
) -> Path:
    """Encode frames 0..num_frames-1, 40 ms apart or at the given times; `x264` is added to its parameters."""
    encoder_options = {"x264-params": f"{X264_PARAMS}:{x264}", "crf": "20"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=dict(muxer or {})) as container:
        stream = container.add_stream(codec, rate=25, options={**encoder_options, **(options or {})})
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        container.start_encoding()  # writes the header even if no frame follows
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, height=height, width=width), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def stream_copy_cut(source: Path, target: Path, *, first_packet: int, num_packets: int, first_frame: int) -> Path:
    """Copy packets (counted in decode order) without encoding, so that time zero is frame `first_frame` of the source.

    What lies before time zero gets negative times, which the mp4 muxer hides behind an edit list: the packets
    stay in the file because later frames refer to them, and a player does not show them.
    """
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        start = sorted(packet.pts for packet in packets)[first_frame]
        copy = output.add_stream_from_template(stream)
        for packet in packets[first_packet : first_packet + num_packets]:
            packet.pts -= start
            packet.dts -= start
            packet.stream = copy
            output.mux(packet)
    return target


def truncate(source: Path, target: Path, *, share: float) -> Path:
    """The first part of a file's bytes."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


def overwrite_middle(source: Path, target: Path, *, share: float) -> Path:
    """A copy whose middle bytes are 0xA5."""
    content = bytearray(source.read_bytes())
    length = int(len(content) * share)
    start = (len(content) - length) // 2
    content[start : start + length] = b"\xa5" * length
    target.write_bytes(bytes(content))
    return target
