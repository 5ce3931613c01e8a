"""What a file says of the showing of its tracks that FFmpeg reads and PyAV does not pass on, or FFmpeg ignores: the
part of the picture that is shown (mp4 `clap`, Matroska `PixelCrop...`), and the speed and pauses of an mp4's edit list.

Only headers are read. Sizes that do not fit end the reading: FFmpeg decides whether such a file is damaged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

MAX_ITEMS = 10_000
"""Boxes or elements looked at in a file. A damaged file may have any number of empty ones."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One part of an edit list."""

    is_empty: bool
    """Nothing is shown."""
    speed: float
    """0 is a still."""


@dataclass(slots=True)
class TrackFacts:
    """Facts of one track."""

    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels of the stored picture that are not shown: left, right, top, bottom."""
    edits: tuple[Edit, ...] = ()
    """An edit list, of an mp4 only."""


def track_facts(path: Path, *, container: str, track: int, index: int) -> TrackFacts:
    """container: FFmpeg's names of the format, with commas. track: the track's id in an mp4. index: its place among
    the tracks of a Matroska file."""
    names = set(container.split(","))
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            if "mp4" in names:
                return _of_mp4(file, end, track)
            if "matroska" in names:
                return _of_matroska(file, end, index)
    except (struct.error, IndexError, ZeroDivisionError):
        pass
    return TrackFacts()


def _of_mp4(file: BinaryIO, end: int, track: int) -> TrackFacts:
    for moov in _boxes(file, 0, end, b"moov"):
        for trak in _boxes(file, *moov, b"trak"):
            for begin, _ in _boxes(file, *trak, b"tkhd"):
                if _track_id(file, begin) == track:
                    return _of_trak(file, trak)
    return TrackFacts()


def _of_trak(file: BinaryIO, trak: tuple[int, int]) -> TrackFacts:
    facts = TrackFacts()
    for edts in _boxes(file, *trak, b"edts"):
        for begin, _ in _boxes(file, *edts, b"elst"):
            facts.edits = tuple(_edits(file, begin))
    inside = [trak]
    for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
        inside = [place for parent in inside for place in _boxes(file, *parent, kind)]
    for begin, stop in inside[:1]:
        for entry, entry_end in _boxes(file, begin + 8, stop):  # after version and number of entries
            file.seek(entry + 24)
            width, height = struct.unpack(">HH", file.read(4))
            for clap, _ in _boxes(file, entry + 78, entry_end, b"clap"):
                file.seek(clap)
                facts.crop = _crop(struct.unpack(">8i", file.read(32)), width=width, height=height)
            break
    return facts


def _boxes(file: BinaryIO, begin: int, end: int, kind: bytes | None = None) -> Iterator[tuple[int, int]]:
    """Where the bodies of the boxes between two places begin and end, of all kinds or of one."""
    for _ in range(MAX_ITEMS):
        if begin + 8 > end:
            return
        file.seek(begin)
        size, found = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            header = 16
        elif size == 0:  # to the end of the file
            size = end - begin
        if size < header or begin + size > end:
            return
        if kind in (None, found):
            yield begin + header, begin + size
        begin += size


def _track_id(file: BinaryIO, begin: int) -> int:
    file.seek(begin)
    version = file.read(1)[0]
    file.seek(begin + (20 if version == 1 else 12))
    return int(struct.unpack(">I", file.read(4))[0])


def _edits(file: BinaryIO, begin: int) -> Iterator[Edit]:
    file.seek(begin)
    version, count = struct.unpack(">B3xI", file.read(8))
    row = ">QqI" if version == 1 else ">IiI"
    for _ in range(min(count, MAX_ITEMS)):
        _, start, speed = struct.unpack(row, file.read(struct.calcsize(row)))
        yield Edit(is_empty=start == -1, speed=speed / 65536)


def _crop(aperture: tuple[int, ...], *, width: int, height: int) -> tuple[int, int, int, int]:
    """From a clean aperture (ISO 14496-12, 12.1.4): its size, and the distance of its centre from the picture's."""
    wide, high, right_by, down_by = (Fraction(*aperture[i : i + 2]) for i in (0, 2, 4, 6))
    left, top = (width - wide) / 2 + right_by, (height - high) / 2 + down_by
    crop = (left, width - wide - left, top, height - high - top)
    if min(crop) < 0 or wide < 1 or high < 1:
        return (0, 0, 0, 0)  # FFmpeg ignores it as well
    return tuple(round(part) for part in crop)  # type: ignore[return-value]


SEGMENT, TRACKS, ENTRY, VIDEO, CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675
CROPS = (0x54CC, 0x54DD, 0x54BB, 0x54AA)
"""Matroska's elements PixelCropLeft, -Right, -Top and -Bottom (RFC 9559)."""


def _of_matroska(file: BinaryIO, end: int, index: int) -> TrackFacts:
    for segment in _elements(file, 0, end, SEGMENT):
        for tracks in _elements(file, *segment, TRACKS):
            entry = list(_elements(file, *tracks, ENTRY))[index]
            for begin, stop in _elements(file, *entry, VIDEO):
                crop = [sum(_numbers(file, begin, stop, kind)) for kind in CROPS]
                return TrackFacts(crop=(crop[0], crop[1], crop[2], crop[3]))
            break
    return TrackFacts()


def _numbers(file: BinaryIO, begin: int, end: int, kind: int) -> Iterator[int]:
    for body, stop in _elements(file, begin, end, kind):
        file.seek(body)
        yield int.from_bytes(file.read(stop - body), "big")


def _elements(file: BinaryIO, begin: int, end: int, kind: int) -> Iterator[tuple[int, int]]:
    """Where the bodies of the EBML elements of one kind begin and end. The first cluster of frames ends the search."""
    for _ in range(MAX_ITEMS):
        file.seek(begin)
        head = file.read(12)
        if begin >= end or not head or head[0] == 0:
            return
        id_length = 9 - head[0].bit_length()
        found = int.from_bytes(head[:id_length], "big")
        first = head[id_length]
        size_length = 9 - first.bit_length()
        if first == 0 or found == CLUSTER:
            return
        size = int.from_bytes(head[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
        body = begin + id_length + size_length
        is_open = size == (1 << 7 * size_length) - 1  # of a live recording, whose length was not known
        stop = end if is_open else body + size
        if stop > end:
            return
        if found == kind:
            yield body, stop
        begin = stop
