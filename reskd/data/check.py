"""Checks every video of both splits before training, by decoding it or by reading its packets only."""

from __future__ import annotations

import stat
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from reskd.data.annotations import VideoRecord, data_root, load_annotations
from reskd.data.decode.dispatch import survey
from reskd.data.formats.rows import Split
from reskd.data.manifest import file_digest, num_allowed_missing, size_and_time
from reskd.data.pack_record import read_videos, refuse_mismatch
from reskd.data.video_facts import Fact, FactCache, Status
from reskd.errors import VideoOpenError, reason_of
from reskd.files import ABSENT, on_disk
from reskd.recipe import DataSpec
from reskd.runtime.processes import Lost, map_in_processes

USABLE: frozenset[Status] = frozenset({"ok", "short", "past_end", "uncut"})
"""Statuses that are no error. All but ok are listed as findings."""
TOLERANCE_S = 1.0
"""A video may end this much before its labelled part: cuts are made at frames, and times are rounded."""
UNCUT_RATIO = 2.0
"""A file longer than this multiple of its labelled part was not cut. A cut at a key frame is only a little longer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A video that is not ok. `path` is as in the annotations."""

    split: Split
    path: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Lengths of the usable videos, in frames."""

    min: int
    median: float
    max: int


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations of the usable videos that state one, in seconds."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split in numbers."""

    num_videos: int
    counts: Mapping[Status, int]
    """Number of videos with each status that occurs."""
    class_counts: Mapping[str, int]
    """Number of videos of each class, zeros included, without missing videos. A video with two labels counts twice."""
    frames: FrameCounts | None
    """None if no video of the split is usable."""
    durations: Durations | None
    """None if no video states a duration, as for folders of frames."""
    num_allowed_missing: int

    @property
    def ok(self) -> bool:
        """Whether a run would start: no errors except missing videos, within the limit and not all of the split."""
        num_missing = self.counts.get("missing", 0)
        errors = sum(number for status, number in self.counts.items() if status not in USABLE) - num_missing
        return not errors and num_missing <= self.num_allowed_missing and num_missing < self.num_videos


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found."""

    splits: Mapping[Split, SplitReport]
    findings: tuple[Finding, ...]
    """In the order of the annotations, training split first."""
    remarks: tuple[str, ...]
    """Harmless oddities of the annotations, each with a count and the first names."""
    num_examined: int
    """Videos opened by this check. Results of the others come from the cache."""

    @property
    def ok(self) -> bool:
        return all(split.ok for split in self.splits.values())


def check_videos(
    spec: DataSpec,
    *,
    quick: bool,
    workers: int,
    cache: Path | None,
    on_progress: Callable[[int, int], None] | None,
    in_processes: bool | None = None,
) -> CheckReport:
    """Decode every video of both splits to its end. With ``quick``, only compare its packets with what it claims.

    ``workers``: number of processes. One alone is this process, unless ``in_processes``; a video that crashes the
    decoder then ends it, where else it is a finding. ``cache``: JSON file of results by path, size, modification
    time and backend. It is written at the end, also after an interruption. ``on_progress`` gets the number of finished
    videos and of all videos. Raises BadInput for wrong annotations or a wrong cache. A bad video is a finding and
    never stops the check.
    """
    root = data_root(spec)
    refuse_mismatch(root, _packed_facts(root))
    annotations = load_annotations(spec)
    listed = dict.fromkeys(record.path for record in (*annotations.train, *annotations.val))
    place_of = {path: on_disk(root / path) for path in listed}
    paths = list(dict.fromkeys(place_of.values()))
    known = FactCache(cache, backend=spec.decode, quick=quick)
    facts = {path: fact for path in paths if (fact := known.find(path)) is not None}
    unknown = [path for path in paths if path not in facts]
    if on_progress is not None:
        on_progress(len(facts), len(paths))
    apart = workers > 1 if in_processes is None else in_processes
    try:
        for path, fact in _examine_all(unknown, quick=quick, backend=spec.decode, workers=workers, apart=apart):
            facts[path] = fact
            known.add(path, fact)
            if on_progress is not None:
                on_progress(len(facts), len(paths))
    finally:
        known.save()
    judged: dict[Split, list[tuple[VideoRecord, Fact]]] = {
        "train": [(record, _judge(facts[place_of[record.path]], record, spec)) for record in annotations.train],
        "val": [(record, _judge(facts[place_of[record.path]], record, spec)) for record in annotations.val],
    }
    return CheckReport(
        splits={split: _summary(videos, annotations.classes, spec) for split, videos in judged.items()},
        findings=tuple(
            Finding(split, record.path, fact.status, fact.reason)
            for split, videos in judged.items()
            for record, fact in videos
            if fact.status != "ok"
        ),
        remarks=annotations.remarks,
        num_examined=len(unknown),
    )


def _packed_facts(root: Path) -> dict[str, tuple[int, str]]:
    """Current size in bytes and digest of each video that a pack lists. Missing videos are left out here."""
    places = {path: on_disk(root / path) for path in read_videos(root) or ()}
    stamps = {path: size_and_time(place) for path, place in places.items()}
    return {path: (stamp[0], file_digest(places[path], size=stamp[0])) for path, stamp in stamps.items() if stamp}


def _judge(fact: Fact, record: VideoRecord, spec: DataSpec) -> Fact:
    """The fact with a status that also depends on recipe and annotation: past_end, uncut or short."""
    if fact.status != "ok":
        return fact
    end_s, duration_s = record.end_s, fact.duration_s
    num_needed = (spec.num_frames - 1) * (spec.stride or 1) + 1
    if end_s is not None and duration_s is not None and duration_s < end_s - TOLERANCE_S:
        return replace(fact, status="past_end", reason=f"labelled up to {end_s:g} s, but lasts {duration_s:.1f} s")
    if end_s is not None and duration_s is not None and record.is_cut and duration_s > UNCUT_RATIO * end_s:
        reason = f"lasts {duration_s:.1f} s, where {end_s:g} s are labelled: cut it, or all of it is sampled"
        return replace(fact, status="uncut", reason=reason)
    if fact.num_frames < num_needed:
        stride = "" if spec.stride is None else f" of stride {spec.stride} need"
        reason = f"{fact.num_frames} frames, fewer than data.num_frames = {spec.num_frames}{stride}: they will repeat"
        return replace(fact, status="short", reason=reason)
    return fact


def _summary(videos: Sequence[tuple[VideoRecord, Fact]], classes: Sequence[str], spec: DataSpec) -> SplitReport:
    usable = [fact for _, fact in videos if fact.status in USABLE]
    lengths = [fact.num_frames for fact in usable]
    seconds = [fact.duration_s for fact in usable if fact.duration_s is not None]
    labels = Counter(label for record, fact in videos if fact.status != "missing" for label in record.labels)
    return SplitReport(
        num_videos=len(videos),
        counts=dict(Counter(fact.status for _, fact in videos)),
        class_counts={name: labels[number] for number, name in enumerate(classes)},
        frames=FrameCounts(min(lengths), statistics.median(lengths), max(lengths)) if lengths else None,
        durations=Durations(min(seconds), statistics.median(seconds), max(seconds)) if seconds else None,
        num_allowed_missing=num_allowed_missing(spec.allow_missing, num_videos=len(videos)),
    )


def _examine(path: Path, *, quick: bool, backend: str) -> Fact:
    """Examine one file. Every error becomes a fact, so the check goes on with the next video."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            return Fact("empty", reason="the file has no bytes")
        found = survey(path, quick=quick, backend=backend)
    except OSError as error:
        if error.errno in ABSENT:
            return Fact("missing", reason="no such file", is_lasting=False)
        return Fact("unreadable", reason=reason_of(error), is_lasting=False)
    except VideoOpenError as error:
        return Fact("unreadable", reason=error.reason)
    except Exception as error:
        return Fact("unreadable", reason=reason_of(error), is_lasting=False)
    if found.num_claimed == 0:
        return Fact("empty", reason=found.reason)
    return Fact("damaged" if found.reason else "ok", found.num_decoded, found.reason, found.duration_s)


def _examine_all(
    paths: Sequence[Path], *, quick: bool, backend: str, workers: int, apart: bool
) -> Iterator[tuple[Path, Fact]]:
    examine = partial(_examine, quick=quick, backend=backend)
    if not apart or not paths:
        for path in paths:
            yield path, examine(path)
        return
    for path, fact in map_in_processes(examine, paths, workers=min(workers, len(paths))):
        yield path, Fact("damaged", reason=fact.reason, is_lasting=False) if isinstance(fact, Lost) else fact
