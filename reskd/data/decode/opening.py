"""Opens a video file with PyAV and chooses its stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from reskd.data.decode.limits import MAX_PIXELS, check_duration, check_frames, check_pixels
from reskd.errors import VideoOpenError

STILLS = Disposition.still_image | Disposition.timed_thumbnails
DEFAULT_PIXELS = 5_000_000

CONTENT_ERRORS = (av.FFmpegError, ValueError, IndexError)
"""Errors that PyAV raises for unreadable content. IndexError: a stream that begins after the file was opened."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its video stream with one decoder thread. The file is closed at the end, since PyAV leaks."""
    with path.open("rb") as file:  # missing, a directory, no permission, broken disk: Python's own OSError
        if not file.read(1):
            raise VideoOpenError(str(path), "the file is empty")
    container = _open(path)
    with container:
        stream = _film(container, path)
        if stream.codec_context is None:
            raise VideoOpenError(str(path), "no decoder for its video stream")
        context = stream.codec_context
        check_pixels(path, width=context.width, height=context.height)
        check_frames(path, stream.frames)
        check_duration(path, duration_s(container, stream))
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}  # of a later frame too; the codec opens at its first packet
        yield container, stream


def duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Duration of the video stream in seconds, else of the file: Matroska and WebM state only that."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6


def _open(path: Path) -> InputContainer:
    try:
        # An absolute path, so that a colon in a name is not taken for a protocol.
        return av.open(str(path.absolute()), metadata_errors="ignore")
    except CONTENT_ERRORS as error:
        read_through(path)
        raise VideoOpenError(str(path), f"not a video: {words(error)}") from error


def _film(container: InputContainer, path: Path) -> VideoStream:
    """The video stream that the ffmpeg program takes, but never a still beside a stream of several frames.

    ffmpeg takes the stream of the most pixels, where the mark `default` counts DEFAULT_PIXELS, and of equals the first
    (fftools/ffmpeg_mux_init.c, map_auto_video). A camera may write a large still or a small preview before its film.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams or container.format.name == "tty":  # FFmpeg reads a text file as video of a terminal
        raise VideoOpenError(str(path), "no video stream")
    readable = [stream for stream in streams if stream.codec_context is not None]
    ranked = sorted(readable, key=_rank, reverse=True)
    if len(ranked) < 2:
        return (ranked or streams)[0]
    moving = _first_moving(path, [stream.index for stream in ranked])
    return next((stream for stream in ranked if stream.index == moving), ranked[0])


def _rank(stream: VideoStream) -> tuple[bool, int]:
    is_default = bool(stream.disposition & Disposition.default)
    pixels = stream.codec_context.width * stream.codec_context.height
    return not stream.disposition & STILLS, pixels + DEFAULT_PIXELS * is_default


def _first_moving(path: Path, indices: Sequence[int]) -> int | None:
    """The first of these streams with two packets. The file is read on only while the ones before have one."""
    counts = dict.fromkeys(indices, 0)
    with _open(path) as container, suppress(*CONTENT_ERRORS):
        for packet in container.demux([container.streams[index] for index in indices]):
            counts[packet.stream_index] += packet.size > 0
            if counts[indices[0]] > 1:
                break
    return next((index for index in indices if counts[index] > 1), None)


def read_through(path: Path) -> None:
    """Read the whole file, to raise the OSError of a bad disk: FFmpeg's error does not tell it from bad content."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
