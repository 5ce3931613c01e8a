"""Frames of a clip by number. One call opens, reads and closes: no reader outlives it or crosses a process.

A clip is a video file, read by the backend that is named, or a folder of frames or a packed video (.zip), which need
no backend: the kind of the file decides.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reskd.data.decode.types import Backend, Indices, Survey, VideoInfo
from reskd.errors import BadInput


def _pyav() -> Backend:
    from reskd.data.decode import pyav

    return pyav


def _decord() -> Backend:
    from reskd.data.decode import decord

    return decord


def _torchcodec() -> Backend:
    from reskd.data.decode import torchcodec

    return torchcodec


def _frames() -> Backend:
    from reskd.data.decode import frames

    return frames


def _packed() -> Backend:
    from reskd.data.decode import packed

    return packed


PACKED_SUFFIX = ".zip"

BACKENDS: dict[str, Callable[[], Backend]] = {"pyav": _pyav, "decord": _decord, "torchcodec": _torchcodec}
"""Imported when first used: a backend's library need not be installed to use another."""


def _backend(name: str, path: Path) -> Backend:
    if name not in BACKENDS:
        raise BadInput(f"data.decode must be one of {', '.join(sorted(BACKENDS))}, got {name!r}")
    if path.suffix == PACKED_SUFFIX:
        return _packed()
    return _frames() if path.is_dir() else BACKENDS[name]()


def read_frames(path: Path, indices: Indices, *, backend: str = "pyav") -> NDArray[np.uint8]:
    """RGB frames (T, H, W, 3), uint8, upright, in the order asked; an index may come twice.

    Index i is the i-th frame that a decode of the whole file gives, which an edit list or a lost frame makes differ
    from the i-th packet. A function in place of indices gets the number of frames; it is called a second time, with
    the right number, where the first one proves wrong while decoding.

    Errors: VideoOpenError when the file is not a video, or the folder has no frames; VideoReadError when a frame that
    was asked for is not there or does not decode, never another frame in its place; OSError as it is when the file
    system is the trouble.
    """
    return _backend(backend, path).read_frames(path, indices)


def probe(path: Path, *, backend: str = "pyav") -> VideoInfo:
    """Number of frames, size and codec, with the errors of `read_frames`.

    Decodes one frame, or the whole file where its packets do not tell the number of frames.
    """
    return _backend(backend, path).probe(path)


def survey(path: Path, *, quick: bool, backend: str = "pyav") -> Survey:
    """Decode a video to its end and count; quick: compare what the file claims with the packets in it, no decoding.

    Damage, even a video stream without frames, is told in the result; VideoOpenError and OSError as in `read_frames`.
    """
    return _backend(backend, path).survey(path, quick=quick)
