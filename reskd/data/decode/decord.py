"""Reads frames with decord, only if chosen by name. Each frame is compared with the exact reader; a wrong frame is an
error.

decord 0.6 silently returns wrong frames from open-GOP H.264, HEVC by x265, AVI with B-frames, transport streams and
stream-copied cuts. Each call opens, reads and closes a reader: an open reader decodes on in the background, and a
reader that is used after a fork deadlocks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reskd.data.decode import pyav
from reskd.data.decode.compared import WAY_OUT, read_compared, survey_compared
from reskd.data.decode.types import Indices, Keep, Survey, VideoInfo, whole
from reskd.errors import BadInput, VideoOpenError, VideoReadError


def read_frames(path: Path, indices: Indices, *, keep: Keep = whole) -> NDArray[np.uint8]:
    """See `read_compared`."""
    return np.stack([keep(image) for image in read_compared(path, indices, name="decord", read=_read)])


def probe(path: Path) -> VideoInfo:
    """See `dispatch.probe`."""
    return pyav.probe(path)


def survey(path: Path, *, quick: bool) -> Survey:
    """See `survey_compared`."""
    return survey_compared(path, quick=quick, name="decord", read=_read)


def _read(path: Path, numbers: list[int], *, num_frames: int) -> NDArray[np.uint8]:
    try:
        import decord
    except ImportError as error:
        raise BadInput("data.decode is 'decord', which is not installed; use pyav, or pip install decord") from error
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != num_frames:
            reason = f"decord counts {len(reader)} frames of {num_frames}; {WAY_OUT}"
            raise VideoOpenError(str(path), reason)
        return np.asarray(reader.get_batch(numbers).asnumpy())
    except (RuntimeError, IndexError) as error:  # DECORDError is a RuntimeError
        reason = str(error).strip().splitlines()[-1][:200]
        raise VideoReadError(str(path), f"decord: {reason}; {WAY_OUT}") from error
