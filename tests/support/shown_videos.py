"""Small videos of one or several streams that say how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from tests.support.video_files import X264_PARAMS, numbered_frame

ONE = 1 << 16
"""The number 1 in a display matrix."""
MATRICES = [(x, 0, 0, y) for x in (ONE, -ONE) for y in (ONE, -ONE)] + [
    (0, y, x, 0) for x in (ONE, -ONE) for y in (ONE, -ONE)
]
"""All eight ways to lay a picture, as a, b, c, d."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A stream: frames 0, 1, ... with their numbers, and what is said of them."""

    num_frames: int = 10
    width: int = 96
    height: int = 64
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    matrix: Sequence[int] | None = None
    """a, b, c, d of the display matrix."""
    pixel_ratio: Fraction | None = None
    rotate_tag: str | None = None
    is_default: bool | None = None
    """None: the muxer's own choice."""


def write_films(path: Path, *films: Film) -> Path:
    with av.open(str(path), "w") as container:
        streams = [_stream(container, film) for film in films]
        container.start_encoding()
        for number in range(max(film.num_frames for film in films)):
            for stream, film in zip(streams, films, strict=True):
                if number < film.num_frames:
                    image = numbered_frame(number, height=film.height, width=film.width)
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 25)
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def _stream(container: av.container.OutputContainer, film: Film) -> av.VideoStream:
    options = {"x264-params": f"{X264_PARAMS}:keyint=5:min-keyint=5", "crf": "20"} if film.codec == "libx264" else {}
    stream = container.add_stream(film.codec, rate=25, options=options)
    stream.width, stream.height, stream.pix_fmt = film.width, film.height, film.pix_fmt
    stream.codec_context.thread_count = 1
    if film.pixel_ratio is not None:
        stream.codec_context.sample_aspect_ratio = film.pixel_ratio
    if film.matrix is not None:
        a, b, c, d = film.matrix
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    if film.rotate_tag is not None:
        stream.metadata["rotate"] = film.rotate_tag
    if film.is_default is not None:
        stream.disposition = Disposition.default if film.is_default else Disposition(0)
    return stream


def join(target: Path, *parts: Path) -> Path:
    """The packets of several files, one after the other, in one stream, as a recorder writes that changes its size."""
    with av.open(str(target), "w") as output:
        stream, begin = None, 0
        for part in parts:
            with av.open(str(part)) as container:
                source = container.streams.video[0]
                stream = stream or output.add_stream_from_template(source)
                end = begin
                for packet in container.demux(source):
                    if packet.pts is None:
                        continue
                    packet.pts += begin
                    packet.dts += begin
                    end = max(end, packet.pts + (packet.duration or 40))
                    packet.stream = stream
                    output.mux(packet)
                begin = end
    return target


def stored(path: Path, *, stream: int = 0) -> list[NDArray[np.uint8]]:
    """All frames of a stream as they are stored, in RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=stream)]
