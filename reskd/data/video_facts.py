"""Results of video checks, and a cache of them for unchanged files."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from reskd.data.decode.presentation import RULES
from reskd.data.manifest import size_and_time
from reskd.errors import BadInput, reason_of
from reskd.files import json_value, write_cache

Status = Literal["ok", "short", "past_end", "uncut", "missing", "unreadable", "empty", "damaged"]
"""short: fewer frames than a clip needs, so frames repeat. past_end: the video ends before its labelled part.
uncut: much longer than its labelled part, although the file should hold only that. unreadable: does not open.
damaged: opens, but fewer frames decode than the file claims. empty: no bytes or no frames."""

SETTLED_NS = 2_000_000_000
"""A file written less than this many nanoseconds ago may change with the same time stamp. Its result is not kept."""


@dataclass(frozen=True, slots=True)
class Fact:
    """The result of checking one file. It does not depend on a recipe."""

    status: Status
    num_frames: int = 0
    reason: str = ""
    duration_s: float | None = None
    is_lasting: bool = True
    """Whether the same bytes always give this result. Errors of the file system or of a process may be temporary."""


FORMER_FIELDS = (7, 8)
"""Numbers of fields of a line in earlier versions, without a duration or without rules."""


class _Line(NamedTuple):
    """A file's line in the cache."""

    size: int
    mtime_ns: int
    backend: str
    quick: bool
    status: Status
    num_frames: int
    reason: str
    duration_s: float | None
    rules: int


class FactCache:
    """Facts about unchanged files, in a JSON file."""

    def __init__(self, file: Path | None, *, backend: str, quick: bool) -> None:
        self._file, self._backend, self._quick = file, backend, quick
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._lines: dict[str, _Line] = {}
        self._is_changed = False
        if file is None or not file.exists():
            return
        way_out = "delete it or name another"
        content = json_value(file.read_bytes(), where=str(file), what="a cache of video checks", way_out=way_out)
        try:
            rows = content["videos"]
            self._lines = {path: _Line(*row) for path, row in rows.items() if len(row) not in FORMER_FIELDS}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(f"{file}: not a cache of video checks ({reason_of(error)}); {way_out}") from error

    def find(self, path: Path) -> Fact | None:
        """The fact about an unchanged file, else None. The result of a full check also serves a quick one."""
        try:
            stamp = size_and_time(path)
        except OSError:
            return None
        if stamp is None:
            return None
        self._stamps[path] = stamp
        line = self._lines.get(str(path))
        if line is None or (*line[:3], line.rules) != (*stamp, self._backend, RULES) or line.quick > self._quick:
            return None
        return Fact(line.status, line.num_frames, line.reason, line.duration_s)

    def add(self, path: Path, fact: Fact) -> None:
        stamp = self._stamps.get(path)
        if fact.is_lasting and stamp is not None and stamp[1] < time.time_ns() - SETTLED_NS:
            how = (self._backend, self._quick)
            self._lines[str(path)] = _Line(
                *stamp, *how, fact.status, fact.num_frames, fact.reason, fact.duration_s, rules=RULES
            )
            self._is_changed = True

    def save(self) -> None:
        if self._file is None or not self._is_changed:
            return
        write_cache(self._file, json.dumps({"videos": self._lines}, indent=0))
