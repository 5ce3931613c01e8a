"""What is wrong with a data set, found before it costs a training: every video of both splits, opened or decoded."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from reskd.data.annotations import VideoRecord, data_root, load_annotations
from reskd.data.decode import survey
from reskd.data.manifest import size_and_time
from reskd.data.processes import map_in_processes
from reskd.errors import BadInput, VideoOpenError
from reskd.files import write_atomic
from reskd.recipe import DataSpec

Split = Literal["train", "val"]
Status = Literal["ok", "short", "missing", "unreadable", "empty", "damaged"]
"""short: fewer frames than a clip takes, so that they repeat. unreadable: does not open. damaged: opens, but fewer
frames decode than the file claims. empty: no bytes or no frames. All but ok and short are errors."""

HARMLESS: frozenset[Status] = frozenset({"ok", "short"})
SETTLED_NS = 2_000_000_000
"""A file written this short a time ago may change again within one time stamp: its result is not kept."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A video that is not ok; the path is that of the annotations."""

    split: Split
    path: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Lengths, in frames, of the videos that are ok or short."""

    min: int
    median: float
    max: int


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split in numbers."""

    num_videos: int
    counts: Mapping[Status, int]
    """Videos by status; each status that occurs."""
    class_counts: Mapping[str, int]
    """Videos by class, in the order of the classes, zeros too; one with two labels counts in both."""
    frames: FrameCounts | None
    """None if no video of the split can be used."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found."""

    splits: Mapping[Split, SplitReport]
    findings: tuple[Finding, ...]
    """In the order of the annotations, training first."""
    num_examined: int
    """Videos that this check opened; the others were known from the cache."""

    @property
    def ok(self) -> bool:
        return all(finding.status in HARMLESS for finding in self.findings)


@dataclass(frozen=True, slots=True)
class _Fact:
    """What one file is, whatever a recipe makes of it."""

    status: Status
    num_frames: int = 0
    reason: str = ""
    is_lasting: bool = True
    """Whether the same bytes always give this; trouble with the file system or a process may pass."""


def check_videos(
    spec: DataSpec,
    *,
    quick: bool,
    workers: int,
    cache: Path | None,
    on_progress: Callable[[int, int], None] | None,
) -> CheckReport:
    """Decode every video of both splits to its end; quick: compare its packets with what it claims, no decoding.

    ``workers`` processes share the work; one means this process. ``cache`` is a JSON file of results by path, size,
    modification time and backend, written at the end and when the check is interrupted. ``on_progress`` gets the
    number of videos done and of all. BadInput for annotations or a cache that do not hold; no video stops the check.
    """
    annotations, root = load_annotations(spec), data_root(spec)
    paths = [root / path for path in dict.fromkeys(r.path for r in (*annotations.train, *annotations.val))]
    known = _Cache(cache, backend=spec.decode, quick=quick)
    facts = {path: fact for path in paths if (fact := known.find(path)) is not None}
    unknown = [path for path in paths if path not in facts]
    if on_progress is not None:
        on_progress(len(facts), len(paths))
    try:
        for path, fact in _examine_all(unknown, quick=quick, backend=spec.decode, workers=workers):
            facts[path] = fact
            known.add(path, fact)
            if on_progress is not None:
                on_progress(len(facts), len(paths))
    finally:
        known.save()
    judged: dict[Split, list[tuple[VideoRecord, _Fact]]] = {
        "train": [(record, _judge(facts[root / record.path], spec)) for record in annotations.train],
        "val": [(record, _judge(facts[root / record.path], spec)) for record in annotations.val],
    }
    return CheckReport(
        splits={split: _summary(videos, annotations.classes) for split, videos in judged.items()},
        findings=tuple(
            Finding(split, record.path, fact.status, fact.reason)
            for split, videos in judged.items()
            for record, fact in videos
            if fact.status != "ok"
        ),
        num_examined=len(unknown),
    )


def _judge(fact: _Fact, spec: DataSpec) -> _Fact:
    num_needed = (spec.num_frames - 1) * (spec.stride or 1) + 1
    if fact.status == "ok" and fact.num_frames < num_needed:
        stride = "" if spec.stride is None else f" of stride {spec.stride} need"
        reason = f"{fact.num_frames} frames, fewer than data.num_frames = {spec.num_frames}{stride}: they will repeat"
        return _Fact("short", fact.num_frames, reason)
    return fact


def _summary(videos: Sequence[tuple[VideoRecord, _Fact]], classes: Sequence[str]) -> SplitReport:
    lengths = [fact.num_frames for _, fact in videos if fact.status in HARMLESS]
    labels = Counter(label for record, _ in videos for label in record.labels)
    return SplitReport(
        num_videos=len(videos),
        counts=dict(Counter(fact.status for _, fact in videos)),
        class_counts={name: labels[number] for number, name in enumerate(classes)},
        frames=FrameCounts(min(lengths), statistics.median(lengths), max(lengths)) if lengths else None,
    )


def _examine(path: Path, *, quick: bool, backend: str) -> _Fact:
    """What a file is; every trouble becomes a fact, since the next video can be well."""
    try:
        if path.stat().st_size == 0:
            return _Fact("empty", reason="the file has no bytes")
        found = survey(path, quick=quick, backend=backend)
    except (FileNotFoundError, NotADirectoryError):
        return _Fact("missing", reason="no such file", is_lasting=False)
    except VideoOpenError as error:
        return _Fact("unreadable", reason=error.reason)
    except Exception as error:
        return _Fact("unreadable", reason=str(error) or repr(error), is_lasting=False)
    if found.num_claimed == 0:
        return _Fact("empty", reason=found.reason)
    return _Fact("damaged" if found.reason else "ok", found.num_decoded, found.reason)


def _examine_all(paths: Sequence[Path], *, quick: bool, backend: str, workers: int) -> Iterator[tuple[Path, _Fact]]:
    examine = partial(_examine, quick=quick, backend=backend)
    if workers == 1 or not paths:
        for path in paths:
            yield path, examine(path)
        return
    for path, fact in map_in_processes(examine, paths, workers=min(workers, len(paths))):
        yield path, fact or _Fact("damaged", reason="the process that decoded it died", is_lasting=False)


class _Line(NamedTuple):
    """A file's line in the cache."""

    size: int
    mtime_ns: int
    backend: str
    quick: bool
    status: Status
    num_frames: int
    reason: str


class _Cache:
    """Facts about files that have not changed since, in a JSON file."""

    def __init__(self, file: Path | None, *, backend: str, quick: bool) -> None:
        self._file, self._backend, self._quick = file, backend, quick
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._lines: dict[str, _Line] = {}
        self._is_changed = False
        if file is None or not file.exists():
            return
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))["videos"]
            self._lines = {path: _Line(*row) for path, row in rows.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(f"{file}: not a cache of video checks ({error!r}); delete it or name another") from error

    def find(self, path: Path) -> _Fact | None:
        """What is known of a file as it is now; what a full check found answers a quick one as well."""
        try:
            stamp = size_and_time(path)
        except OSError:
            return None
        if stamp is None:
            return None
        self._stamps[path] = stamp
        line = self._lines.get(str(path))
        if line is None or line[:3] != (*stamp, self._backend) or line.quick > self._quick:
            return None
        return _Fact(line.status, line.num_frames, line.reason)

    def add(self, path: Path, fact: _Fact) -> None:
        stamp = self._stamps.get(path)
        if fact.is_lasting and stamp is not None and stamp[1] < time.time_ns() - SETTLED_NS:
            self._lines[str(path)] = _Line(
                *stamp, self._backend, self._quick, fact.status, fact.num_frames, fact.reason
            )
            self._is_changed = True

    def save(self) -> None:
        if self._file is None or not self._is_changed:
            return
        write_atomic(self._file, json.dumps({"videos": self._lines}, indent=0))
