"""Types that all readers of clips share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Keep = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""What becomes of a frame as soon as it is decoded, such as a resize: (H, W, 3) -> (h, w, 3)."""
Indices = Sequence[int] | Callable[[int], Sequence[int]]
"""Frame numbers, or a function that gives them from the number of frames."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Facts of a video. Height and width are those of the frames that `read_frames` returns, in pixels."""

    num_frames: int
    """Number of frames that the file claims. For an undamaged file, exactly this number decodes."""
    height: int
    width: int
    codec: str


@dataclass(frozen=True, slots=True)
class Survey:
    """How many frames of a video decode."""

    num_claimed: int
    num_decoded: int
    reason: str
    """Why fewer frames decode than the file claims; empty when all do."""
    duration_s: float | None = None
    """Duration that the file states, in seconds; None if it states none, as for a folder of frames."""


def whole(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame as it is."""
    return image


class Rows:
    """Wanted frames in the requested order, filled one by one. The first one gives the size of all."""

    def __init__(self, numbers: Sequence[int], *, keep: Keep) -> None:
        self._keep = keep
        self._num_rows = len(numbers)
        self._rows: dict[int, list[int]] = {}
        for row, number in enumerate(numbers):
            self._rows.setdefault(number, []).append(row)
        self.missing = set(numbers)
        self._frames: NDArray[np.uint8] | None = None

    def take(self, number: int, image: NDArray[np.uint8]) -> None:
        """Put a wanted frame into its rows."""
        kept = self._keep(image)
        if self._frames is None:
            self._frames = np.empty((self._num_rows, *kept.shape), dtype=np.uint8)
        self._frames[self._rows[number]] = kept
        self.missing.discard(number)

    def frames(self) -> NDArray[np.uint8]:
        """uint8 (T, h, w, 3)."""
        assert self._frames is not None
        assert not self.missing
        return self._frames


Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Once(Generic[Kept]):
    """The result of `read_once`."""

    num_frames: int
    fps: float | None
    """Mean frame rate that the file states, in frames per second."""
    kept: list[tuple[int, float | None, Kept]]
    """(frame number, time in seconds, result of `keep`), in ascending order."""


class Backend(Protocol):
    """The functions of a backend module. `dispatch` documents them."""

    def read_frames(self, path: Path, indices: Indices, *, keep: Keep) -> NDArray[np.uint8]: ...

    def probe(self, path: Path) -> VideoInfo: ...

    def survey(self, path: Path, *, quick: bool) -> Survey: ...
