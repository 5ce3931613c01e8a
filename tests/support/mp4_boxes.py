"""Changes boxes of an mp4 file whose moov box is its last, so that no offset of a sample changes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

HEADERS = {b"stsd": 16, b"avc1": 86, b"mp4v": 86}
"""Bytes before the boxes inside, where there are more than eight."""


def boxes(content: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of each box."""
    while begin < end:
        size, kind = struct.unpack_from(">I4s", content, begin)
        yield kind, begin, begin + size
        begin += size


def put_box(path: Path, way: Sequence[bytes], body: bytes) -> None:
    """Set the body of the first box of this way (moov, trak, ...); the last box is added to its parent if missing."""
    content = path.read_bytes()
    parents: list[int] = []
    begin, end, header = 0, len(content), 0
    for kind in way:
        inside = {found: (at, to) for found, at, to in reversed([*boxes(content, begin + header, end)])}
        if kind not in inside:
            assert kind == way[-1], (kind, inside)
            begin = end
            break
        begin, end = inside[kind]
        parents.append(begin)
        header = HEADERS.get(kind, 8)
    else:
        parents.pop()
    new = struct.pack(">I4s", 8 + len(body), way[-1]) + body
    changed = bytearray(content[:begin] + new + content[end:])
    for parent in parents:
        (size,) = struct.unpack_from(">I", changed, parent)
        struct.pack_into(">I", changed, parent, size + len(changed) - len(content))
    path.write_bytes(changed)


def edit_list(*edits: tuple[int, int, float]) -> bytes:
    """The body of an elst box: duration in units of the movie, first media time (-1: nothing is shown), speed."""
    rows = [struct.pack(">IiI", duration, start, round(speed * 65536)) for duration, start, speed in edits]
    return struct.pack(">II", 0, len(rows)) + b"".join(rows)
