"""Compares each frame of a reader that seeks wrongly in some files with the exact reader. A wrong frame is an error.

Whether such a reader is right depends on the requested frames and their order. So a file cannot be checked once, and
every read is checked. This costs more than pyav alone; use it to find out whether the reader's frames are right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reskd.data.decode import pyav
from reskd.data.decode.types import Indices, Survey
from reskd.errors import DecodeError, VideoReadError

MAX_DIFFERENCE = 2.0
"""Largest mean absolute difference of two equal frames, on the scale 0..255. Rounding between decoders is below 1.5."""
NUM_SURVEYED = 16
WAY_OUT = "use data.decode: pyav"


class Read(Protocol):
    """Returns the reader's frames, right or wrong: uint8 (T, H, W, 3). Raises DecodeError if there are none.

    num_frames is the exact number of frames in the file. A reader with another count is wrong.
    """

    def __call__(self, path: Path, numbers: list[int], *, num_frames: int) -> NDArray[np.uint8]: ...


def read_compared(path: Path, indices: Indices, *, name: str, read: Read) -> NDArray[np.uint8]:
    """See `dispatch.read_frames`. Also raises VideoReadError if the reader returns another frame than asked."""
    asked: list[tuple[int, list[int]]] = []

    def remember(num_frames: int) -> list[int]:
        numbers = [int(number) for number in (indices(num_frames) if callable(indices) else indices)]
        asked.append((num_frames, numbers))
        return numbers

    exact = pyav.read_frames(path, remember)
    num_frames, numbers = asked[-1]  # a second call has the right number
    found = read(path, numbers, num_frames=num_frames)
    if found.shape[1:3] != exact.shape[1:3]:
        sizes = [f"{shape[2]}x{shape[1]}" for shape in (found.shape, exact.shape)]
        reason = f"{name} shows it in {sizes[0]} pixels, where the file says {sizes[1]}; {WAY_OUT}"
        raise VideoReadError(str(path), reason)
    for number, right, ours in zip(numbers, exact, found, strict=True):
        if np.abs(right.astype(np.int16) - ours).mean() > MAX_DIFFERENCE:
            raise VideoReadError(str(path), f"{name} returns another picture for frame {number}; {WAY_OUT}")
    return found


def survey_compared(path: Path, *, quick: bool, name: str, read: Read) -> Survey:
    """See `dispatch.survey`. If the reader reads some frames wrongly, no frame counts as decoded."""
    found = pyav.survey(path, quick=quick)
    if quick or found.reason:
        return found
    spread = lambda n: [(2 * i + 1) * n // (2 * NUM_SURVEYED) for i in range(NUM_SURVEYED)]  # noqa: E731
    try:
        read_compared(path, spread, name=name, read=read)
    except DecodeError as error:
        return Survey(num_claimed=found.num_claimed, num_decoded=0, reason=str(error))
    return found
