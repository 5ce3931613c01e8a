"""What is wrong with a data set, found before it costs a training: every video of both splits, opened or decoded."""

from __future__ import annotations

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
from reskd.errors import VideoOpenError
from reskd.recipe import DataSpec
from reskd.runtime.processes import map_in_processes

USABLE: frozenset[Status] = frozenset({"ok", "short", "past_end", "uncut"})
"""Not errors, and shown if they are not ok."""
TOLERANCE_S = 1.0
"""By so much a video may end before its labelled part: cuts are made at frames, times were rounded."""
UNCUT_RATIO = 2.0
"""A file this many times as long as its labelled part was not cut; one cut at a key frame is a little longer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A video that is not ok; the path is that of the annotations."""

    split: Split
    path: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Lengths, in frames, of the videos that can be used."""

    min: int
    median: float
    max: int


@dataclass(frozen=True, slots=True)
class Durations:
    """Of the videos that can be used and state one, in seconds."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split in numbers."""

    num_videos: int
    counts: Mapping[Status, int]
    """Videos by status; each status that occurs."""
    class_counts: Mapping[str, int]
    """Videos by class without the missing, in the order of the classes, zeros too; one with two labels is in both."""
    frames: FrameCounts | None
    """None if no video of the split can be used."""
    durations: Durations | None
    """None if no video states one: folders of frames do not."""
    num_allowed_missing: int

    @property
    def ok(self) -> bool:
        """Whether a run would begin: nothing in the way but missing videos, no more than allowed and not all."""
        num_missing = self.counts.get("missing", 0)
        errors = sum(number for status, number in self.counts.items() if status not in USABLE) - num_missing
        return not errors and num_missing <= self.num_allowed_missing and num_missing < self.num_videos


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found."""

    splits: Mapping[Split, SplitReport]
    findings: tuple[Finding, ...]
    """In the order of the annotations, training first."""
    remarks: tuple[str, ...]
    """What is odd and harmless in the annotations, counted and named."""
    num_examined: int
    """Videos that this check opened; the others were known from the cache."""

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
) -> CheckReport:
    """Decode every video of both splits to its end; quick: compare its packets with what it claims, no decoding.

    ``workers`` processes share the work; one means this process. ``cache`` is a JSON file of results by path, size,
    modification time and backend, written at the end and when the check is interrupted. ``on_progress`` gets the
    number of videos done and of all. BadInput for annotations or a cache that do not hold; no video stops the check.
    """
    root = data_root(spec)
    refuse_mismatch(root, _packed_facts(root))
    annotations = load_annotations(spec)
    paths = [root / path for path in dict.fromkeys(r.path for r in (*annotations.train, *annotations.val))]
    known = FactCache(cache, backend=spec.decode, quick=quick)
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
    judged: dict[Split, list[tuple[VideoRecord, Fact]]] = {
        "train": [(record, _judge(facts[root / record.path], record, spec)) for record in annotations.train],
        "val": [(record, _judge(facts[root / record.path], record, spec)) for record in annotations.val],
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
    """Bytes and digest of each video that a pack lists, as it is now; the missing are found later."""
    stamps = {path: size_and_time(root / path) for path in read_videos(root) or ()}
    return {path: (stamp[0], file_digest(root / path, size=stamp[0])) for path, stamp in stamps.items() if stamp}


def _judge(fact: Fact, record: VideoRecord, spec: DataSpec) -> Fact:
    """The fact, where the file is well, with what is odd in it for this recipe and this annotation."""
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
    """What a file is; every trouble becomes a fact, since the next video can be well."""
    try:
        if path.stat().st_size == 0:
            return Fact("empty", reason="the file has no bytes")
        found = survey(path, quick=quick, backend=backend)
    except (FileNotFoundError, NotADirectoryError):
        return Fact("missing", reason="no such file", is_lasting=False)
    except VideoOpenError as error:
        return Fact("unreadable", reason=error.reason)
    except Exception as error:
        return Fact("unreadable", reason=str(error) or repr(error), is_lasting=False)
    if found.num_claimed == 0:
        return Fact("empty", reason=found.reason)
    return Fact("damaged" if found.reason else "ok", found.num_decoded, found.reason, found.duration_s)


def _examine_all(paths: Sequence[Path], *, quick: bool, backend: str, workers: int) -> Iterator[tuple[Path, Fact]]:
    examine = partial(_examine, quick=quick, backend=backend)
    if workers == 1 or not paths:
        for path in paths:
            yield path, examine(path)
        return
    for path, fact in map_in_processes(examine, paths, workers=min(workers, len(paths))):
        yield path, fact or Fact("damaged", reason="the process that decoded it died", is_lasting=False)
