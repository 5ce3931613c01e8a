"""Reads frames of a clip by number. Each call opens, reads and closes; no reader outlives the call or its process.

A clip is a video file, a folder of frames or a packed video (.zip). The named backend reads video files only.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reskd.data.decode.types import Backend, Indices, Keep, Survey, VideoInfo, whole
from reskd.errors import BadInput, VideoOpenError


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
"""A backend is imported when first used, so only its own library must be installed."""


def _backend(name: str, path: Path) -> Backend:
    if name not in BACKENDS:
        raise BadInput(f"data.decode must be one of {', '.join(sorted(BACKENDS))}, got {name!r}")
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return _frames()
    if not stat.S_ISREG(mode):  # reading it may never end
        raise VideoOpenError(str(path), "a pipe or a device, not a file")
    return _packed() if path.suffix == PACKED_SUFFIX else BACKENDS[name]()


def read_frames(path: Path, indices: Indices, *, backend: str = "pyav", keep: Keep = whole) -> NDArray[np.uint8]:
    """RGB frames as uint8 (T, H, W, 3), upright, in the requested order. An index may occur twice.

    ``keep`` is applied to each frame as soon as it is decoded. A resize there keeps only small frames in memory.

    Index i is the i-th frame of a decode of the whole file. With an edit list or a lost frame this is not the i-th
    packet. ``indices`` may be a function of the number of frames. It is called a second time if decoding shows that
    the first number was wrong.

    Raises VideoOpenError if the file is no video or the folder has no frames. Raises VideoReadError if a requested
    frame is missing or does not decode; it never returns another frame instead. File-system errors stay OSErrors.
    """
    return _backend(backend, path).read_frames(path, indices, keep=keep)


def probe(path: Path, *, backend: str = "pyav") -> VideoInfo:
    """Number of frames, size and codec. Raises the errors of `read_frames`.

    It decodes one frame, or the whole file if the packets do not give the number of frames.
    """
    return _backend(backend, path).probe(path)


def survey(path: Path, *, quick: bool, backend: str = "pyav") -> Survey:
    """Decode a video to its end and count frames. With ``quick``, only compare the file's claims with its packets.

    The result reports damage, also a video stream without frames. Raises VideoOpenError and OSError as `read_frames`.
    """
    return _backend(backend, path).survey(path, quick=quick)
