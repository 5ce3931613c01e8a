"""Packed videos: a zip without compression that holds chosen frames as JPEG, and `video.json` with their description.

Frame i is the i-th JPEG, so reading needs no seek. `python -m zipfile -l` lists the file; any unzip extracts it.
"""

from __future__ import annotations

import io
import json
import operator
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import decode_jpeg

from reskd.data.decode.limits import check_frames, check_pixels
from reskd.data.decode.types import Indices, Keep, Rows, Survey, VideoInfo, whole
from reskd.errors import VideoOpenError, VideoReadError, reason_of

FACTS = "video.json"
A_DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every zip member. It is fixed, so the same frames give the same bytes."""
UNREADABLE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RecursionError,
    KeyError,
    ValueError,
    TypeError,
)
"""Errors of a file with other content than ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedFacts:
    """The content of `video.json`."""

    source: str
    """The video's path in its own data set."""
    source_size: int
    source_digest: str
    """Digest of the source by `reskd.data.manifest`."""
    num_source_frames: int
    indices: tuple[int, ...]
    """Frame number in the source of each JPEG, ascending."""
    times_s: tuple[float | None, ...]
    """Presentation time in the source of each JPEG, in seconds; None if the source has none."""
    fps: float | None
    """Mean frame rate of the source, in frames per second."""
    height: int
    width: int
    settings: dict[str, int | str]
    """See `reskd.data.pack.PackSettings`."""
    versions: dict[str, str]
    rules: int = 1
    """Version of the rules by which the source was read, see `reskd.data.decode.presentation`."""


def member_name(index: int) -> str:
    """The JPEG's name in the zip. ``index`` is the frame number in the source."""
    return f"{index:07d}.jpg"


def packed_bytes(jpegs: Sequence[bytes], facts: PackedFacts) -> bytes:
    """The bytes of a packed video file."""
    assert len(jpegs) == len(facts.indices) == len(facts.times_s)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(FACTS, A_DATE), json.dumps(asdict(facts)))
        for index, jpeg in zip(facts.indices, jpegs, strict=True):
            archive.writestr(zipfile.ZipInfo(member_name(index), A_DATE), jpeg)
    return content.getvalue()


def read_facts(path: Path) -> PackedFacts:
    """The facts of a packed video. Raises VideoOpenError if the file is no packed video."""
    with _opened(path) as (_, facts):
        return facts


def read_frames(path: Path, indices: Indices, *, keep: Keep = whole) -> NDArray[np.uint8]:
    """See `dispatch.read_frames`. Index i is the i-th JPEG, not the i-th frame of the source."""
    with _opened(path) as (archive, facts):
        num_total = len(facts.indices)
        numbers = [operator.index(index) for index in (indices(num_total) if callable(indices) else indices)]
        assert numbers, "no frame was asked for"
        for number in (min(numbers), max(numbers)):
            if not 0 <= number < num_total:
                reason = f"frame {number} was asked for, but {num_total} frames were packed"
                raise VideoReadError(str(path), reason)
        rows = Rows(numbers, keep=keep)
        for number in dict.fromkeys(numbers):
            rows.take(number, _decode(path, archive, facts, number))
        return rows.frames()


def probe(path: Path) -> VideoInfo:
    """See `dispatch.probe`."""
    with _opened(path) as (archive, facts):
        _decode(path, archive, facts, 0)
        return VideoInfo(num_frames=len(facts.indices), height=facts.height, width=facts.width, codec="packed jpeg")


def survey(path: Path, *, quick: bool) -> Survey:
    """See `dispatch.survey`. There is no duration, since some frames of the source are not in the pack."""
    with _opened(path) as (archive, facts):
        num_claimed, num_decoded = len(facts.indices), 0
        if quick:
            names = set(archive.namelist())
            present = sum(member_name(index) in names for index in facts.indices)
            reason = "" if present == num_claimed else f"{num_claimed - present} of its JPEGs are not in the file"
            return Survey(num_claimed=num_claimed, num_decoded=present, reason=reason)
        try:
            for number in range(num_claimed):
                _decode(path, archive, facts, number)
                num_decoded += 1
        except VideoReadError as error:
            return Survey(num_claimed=num_claimed, num_decoded=num_decoded, reason=error.reason)
    return Survey(num_claimed=num_claimed, num_decoded=num_decoded, reason="")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, PackedFacts]]:
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
            content = json.loads(archive.read(FACTS))
            content["indices"], content["times_s"] = tuple(content["indices"]), tuple(content["times_s"])
            facts = PackedFacts(**content)
            check_frames(path, len(facts.indices))
            check_pixels(path, width=facts.width, height=facts.height)
        except UNREADABLE as error:
            raise VideoOpenError(str(path), f"not a packed video ({reason_of(error)}); pack it again") from error
        if not facts.indices:
            raise VideoOpenError(str(path), "a packed video without frames; pack it again")
        yield archive, facts


def _decode(path: Path, archive: zipfile.ZipFile, facts: PackedFacts, number: int) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of one JPEG."""
    index = facts.indices[number]
    try:
        # zipfile checks the CRC, so torchvision only gets undamaged JPEGs. It takes half of Pillow's time.
        jpeg = bytearray(archive.read(member_name(index)))
        frame: NDArray[np.uint8] = decode_jpeg(torch.frombuffer(jpeg, dtype=torch.uint8)).permute(1, 2, 0).numpy()
    except (zipfile.BadZipFile, EOFError, KeyError, RuntimeError, ValueError) as error:
        reason = f"frame {number} ({member_name(index)}) does not decode: {error}; pack it again"
        raise VideoReadError(str(path), reason) from error
    if frame.shape != (facts.height, facts.width, 3):
        reason = f"frame {number} is {frame.shape[1]}x{frame.shape[0]}, not {facts.width}x{facts.height}; pack it again"
        raise VideoReadError(str(path), reason)
    return frame
