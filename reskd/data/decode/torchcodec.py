"""Reads frames with torchcodec, only if chosen by name. Each frame is compared with the exact reader; a wrong frame is
an error.

The exact mode of torchcodec is off by one or two frames in AVI with B-frames, and for some orders in MPEG streams. It
needs FFmpeg's shared libraries, which the wheel does not contain. Each call opens, reads and closes a decoder, because
a pickled decoder crashes its process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reskd.data.decode import pyav
from reskd.data.decode.compared import WAY_OUT, read_compared, survey_compared
from reskd.data.decode.types import Indices, Keep, Survey, VideoInfo, whole
from reskd.errors import BadInput, VideoOpenError, VideoReadError


def read_frames(path: Path, indices: Indices, *, keep: Keep = whole) -> NDArray[np.uint8]:
    """See `read_compared`."""
    return np.stack([keep(image) for image in read_compared(path, indices, name="torchcodec", read=_read)])


def probe(path: Path) -> VideoInfo:
    """See `dispatch.probe`."""
    return pyav.probe(path)


def survey(path: Path, *, quick: bool) -> Survey:
    """See `survey_compared`."""
    return survey_compared(path, quick=quick, name="torchcodec", read=_read)


def _read(path: Path, numbers: list[int], *, num_frames: int) -> NDArray[np.uint8]:
    decoder_of = _decoder_class()
    try:
        # An absolute path, so that a colon in a name is not taken for a protocol.
        decoder = decoder_of(str(path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
        if len(decoder) != num_frames:
            reason = f"torchcodec counts {len(decoder)} frames of {num_frames}; {WAY_OUT}"
            raise VideoOpenError(str(path), reason)
        return np.asarray(decoder.get_frames_at(numbers).data.numpy())
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0][-200:]  # the reason follows a position in C++ code
        raise VideoReadError(str(path), f"torchcodec: {reason}; {WAY_OUT}") from error


def _decoder_class() -> Any:
    """torchcodec.decoders.VideoDecoder. Raises BadInput if torchcodec or FFmpeg is not installed."""
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder
    except ImportError as error:
        raise BadInput(
            "data.decode is 'torchcodec', which is not installed; use pyav, or pip install torchcodec (or reskd's "
            "extra 'torchcodec') and FFmpeg's shared libraries"
        ) from error
    except (RuntimeError, OSError) as error:  # a build for another torch
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"data.decode is 'torchcodec', which does not load ({reason}); use pyav, or the version that fits torch"
        ) from error
    if torchcodec.ffmpeg_major_version is None:
        raise BadInput(
            "data.decode is 'torchcodec', which finds no shared libraries of FFmpeg; use pyav, or install FFmpeg "
            "(apt install ffmpeg)"
        )
    return VideoDecoder
