"""Frames with decord, after each file was compared with PyAV: decord gives wrong frames of some files, silently.

Wrong are among others HEVC, open groups of pictures, edit lists, MPEG-TS and AVI with B-frames. No rule by container
or codec tells which, so every frame of a file is compared before the first one of it is returned.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reskd.data.decode import Indices, Survey, VideoInfo, pyav
from reskd.errors import BadInput, VideoOpenError, VideoReadError

MAX_DIFFERENCE = 4.0
"""Mean difference of a frame in 1/255: 10-bit and interlaced video convert to RGB with up to 1.4."""


def read_frames(path: Path, indices: Indices) -> NDArray[np.uint8]:
    """See `reskd.data.decode.read_frames`; VideoOpenError for a file of which decord gives other frames than PyAV."""
    status = path.stat()
    num_frames = _check(path, status.st_size, status.st_mtime_ns)
    numbers = list(indices(num_frames) if callable(indices) else indices)
    if min(numbers) < 0 or max(numbers) >= num_frames:
        number = min(numbers) if min(numbers) < 0 else max(numbers)
        raise VideoReadError(str(path), f"frame {number} was asked for, but the file has {num_frames} frames")
    rows = sorted(set(numbers))
    frames = _read(path, rows)
    place = {number: row for row, number in enumerate(rows)}
    return frames[[place[number] for number in numbers]]


def probe(path: Path) -> VideoInfo:
    """See `reskd.data.decode.probe`; PyAV's, which the frames are compared with."""
    return pyav.probe(path)


def survey(path: Path, *, quick: bool) -> Survey:
    """See `reskd.data.decode.survey`; without `quick` a file that `read_frames` would refuse has a reason."""
    found = pyav.survey(path, quick=quick)
    if quick or found.reason:
        return found
    status = path.stat()
    try:
        _check(path, status.st_size, status.st_mtime_ns)
    except VideoOpenError as error:
        return Survey(num_claimed=found.num_claimed, num_decoded=0, reason=error.reason)
    return found


def _library() -> Any:
    try:
        import decord
    except ImportError as error:
        raise BadInput(f"data.decode: decord is not to be had on this machine ({error}); set it to pyav") from error
    return decord


def _read(path: Path, numbers: list[int]) -> NDArray[np.uint8]:
    """Frames in the order given. The reader ends with the call: an idle one goes on decoding into memory."""
    decord = _library()
    try:
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
        return np.stack([reader[number].asnumpy() for number in numbers])
    except (RuntimeError, IndexError) as error:  # decord's own error is a RuntimeError
        first_line = (str(error).splitlines() or [repr(error)])[0]
        raise VideoReadError(str(path), f"decord: {first_line}; data.decode pyav may read it") from error


@functools.lru_cache(maxsize=100_000)
def _check(path: Path, _size: int, _mtime_ns: int) -> int:
    """Number of frames of a file that decord reads right, once for a process; VideoOpenError for any other."""
    truth = pyav.survey(path, quick=False)
    if truth.reason:  # of a damaged file decord may repeat frames, or never come back
        raise VideoOpenError(str(path), f"decord is not tried on it: {truth.reason}")
    decord, num_frames = _library(), truth.num_decoded
    try:
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
        num_claimed, keys = len(reader), list(reader.get_key_indices())
        del reader
    except (RuntimeError, IndexError) as error:
        raise VideoOpenError(str(path), "decord does not open it; set data.decode to pyav") from error
    if num_claimed != num_frames:
        raise _refusal(path, f"it counts {num_claimed} frames where {num_frames} decode")
    signatures = np.stack([_mark(frame) for frame in pyav.all_frames(path)])
    # Backwards over the groups of pictures, so that each is reached by a seek; then forwards over their last frames.
    starts = sorted({0, *(key for key in keys if 0 <= key < num_frames)})
    ends = [*starts[1:], num_frames]
    orders = [list(range(start, end)) for start, end in reversed(list(zip(starts, ends, strict=True)))]
    orders.append([end - 1 for end in ends])
    wrong = _first_wrong(path, orders, signatures)
    if wrong:
        raise _refusal(path, wrong)
    return num_frames


def _first_wrong(path: Path, orders: list[list[int]], signatures: NDArray[np.int16]) -> str:
    """What is wrong first when one reader is asked for the frames of all orders; empty if nothing is."""
    decord = _library()
    try:
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
        for number in (number for order in orders for number in order):
            mark = _mark(reader[number].asnumpy())
            if mark.shape != signatures.shape[1:]:
                return f"frame {number} has another size"
            differences = np.abs(signatures - mark).mean(axis=tuple(range(1, signatures.ndim)))
            if differences[number] > min(MAX_DIFFERENCE, differences.min() + 1e-6):
                return f"frame {number} is frame {differences.argmin()} or none"
    except (RuntimeError, IndexError):
        return "it fails while reading"
    return ""


def _mark(frame: NDArray[np.uint8]) -> NDArray[np.int16]:
    """About 32 x 32 pixels of a frame (H, W, 3), enough to tell neighbours apart."""
    height, width, _ = frame.shape
    return frame[:: max(1, height // 32), :: max(1, width // 32)].astype(np.int16)


def _refusal(path: Path, wrong: str) -> VideoOpenError:
    return VideoOpenError(str(path), f"decord gives wrong frames of it ({wrong}); set data.decode to pyav")
