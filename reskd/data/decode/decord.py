"""Frames with decord, by name only, each compared with the exact reader's: another frame is an error, never returned.

decord 0.6 silently returns other frames than asked from open-GOP H.264, HEVC as x265 makes it, AVI with B-frames,
transport streams and stream-copied cuts, and whether it does hangs on which frames are asked for in which order; so no
check of a file clears it, and every read is checked. It then costs more than pyav alone: it is here for those who must
know whether their decord frames were right. A reader is opened, read and dropped in one call: one that lives goes on
decoding in the background, and one that crosses a fork deadlocks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reskd.data.decode import Indices, Survey, VideoInfo, pyav
from reskd.errors import BadInput, DecodeError, VideoOpenError, VideoReadError

MAX_DIFFERENCE = 2.0
"""Of 255, mean over a frame: rounding between the two decoders stays below 1.5."""
NUM_SURVEYED = 16
WAY_OUT = "use data.decode: pyav"


def read_frames(path: Path, indices: Indices) -> NDArray[np.uint8]:
    """See `reskd.data.decode.read_frames`. VideoReadError too where decord's frames are not those asked for."""
    asked: list[tuple[int, list[int]]] = []

    def remember(num_frames: int) -> list[int]:
        numbers = [int(number) for number in (indices(num_frames) if callable(indices) else indices)]
        asked.append((num_frames, numbers))
        return numbers

    exact = pyav.read_frames(path, remember)
    num_frames, numbers = asked[-1]  # a second call has the right number
    found = _read(path, numbers, num_frames=num_frames)
    for number, right, ours in zip(numbers, exact, found, strict=True):
        if right.shape != ours.shape or np.abs(right.astype(np.int16) - ours).mean() > MAX_DIFFERENCE:
            raise VideoReadError(str(path), f"decord returns another picture for frame {number}; {WAY_OUT}")
    return found


def probe(path: Path) -> VideoInfo:
    """See `reskd.data.decode.probe`."""
    return pyav.probe(path)


def survey(path: Path, *, quick: bool) -> Survey:
    """See `reskd.data.decode.survey`; a file of which decord reads some frames wrongly has none to give."""
    found = pyav.survey(path, quick=quick)
    if quick or found.reason:
        return found
    try:
        read_frames(path, lambda n: [(2 * i + 1) * n // (2 * NUM_SURVEYED) for i in range(NUM_SURVEYED)])
    except DecodeError as error:
        return Survey(num_claimed=found.num_claimed, num_decoded=0, reason=str(error))
    return found


def _read(path: Path, numbers: list[int], *, num_frames: int) -> NDArray[np.uint8]:
    """(T, H, W, 3) as decord gives them, right or wrong."""
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
