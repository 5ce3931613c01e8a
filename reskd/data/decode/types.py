"""What readers of clips take and give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Indices = Sequence[int] | Callable[[int], Sequence[int]]
"""Frame numbers, or a function that gives them from the number of frames."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video is; sizes are those of the frames that `read_frames` returns."""

    num_frames: int
    """Frames the file says it has; of an undamaged file, exactly those that decode."""
    height: int
    width: int
    codec: str


@dataclass(frozen=True, slots=True)
class Survey:
    """How much of a video is really there."""

    num_claimed: int
    num_decoded: int
    reason: str
    """Why fewer frames decode than the file claims; empty when all do."""
    duration_s: float | None = None
    """As the file says it; None where it does not, and of a folder of frames, which has no rate."""


Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Once(Generic[Kept]):
    """What `read_once` of pyav and of frames saw."""

    num_frames: int
    fps: float | None
    """Mean rate, as the file says it."""
    kept: list[tuple[int, float | None, Kept]]
    """Number of the frame, its time in seconds, and what was made of it; ascending."""


class Backend(Protocol):
    """What a module of this package offers; the functions below say what each one does."""

    def read_frames(self, path: Path, indices: Indices) -> NDArray[np.uint8]: ...

    def probe(self, path: Path) -> VideoInfo: ...

    def survey(self, path: Path, *, quick: bool) -> Survey: ...
