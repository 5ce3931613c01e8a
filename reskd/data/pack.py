"""Packs a data set: decodes each video once, in order, and writes chosen frames as a packed video
(`reskd.data.decode.packed`)."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features

from reskd.data.annotations import data_root
from reskd.data.decode import frames, pyav
from reskd.data.decode.dispatch import PACKED_SUFFIX
from reskd.data.decode.packed import PackedFacts, packed_bytes, read_facts
from reskd.data.decode.presentation import RULES
from reskd.data.formats.rows import Split, some
from reskd.data.manifest import Clip, Manifest, build_manifest, file_digest
from reskd.data.pack_record import AGAIN, PackedVideo, PackSettings, begin, csv_text, finish, known_digests
from reskd.data.transforms import small_image
from reskd.errors import BadInput, DecodeError, ReskdError, TooManyDamaged, VideoReadError
from reskd.files import on_disk, write_atomic
from reskd.recipe import DataSpec, Resample
from reskd.runtime.processes import Lost, map_in_processes
from reskd.text import is_inside

CLASSES, DAMAGED = "classes.txt", "damaged.csv"
SPLITS: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True, slots=True)
class Job:
    """One video to pack."""

    source: Path
    target: Path
    clip: Clip
    known_digest: str | None
    """Digest of the target from an earlier finished pack, if any. A target with another digest is packed again."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The result for one video."""

    video: PackedVideo | None
    """None for a damaged video."""
    reason: str = ""
    was_there: bool = False


@dataclass(frozen=True, slots=True)
class PackReport:
    """The result of `pack`."""

    num_packed: int
    num_kept: int
    """Videos that an earlier call had already packed."""
    damaged: tuple[tuple[str, str], ...]
    """(path, reason) of each damaged video."""
    num_bytes: int
    num_source_bytes: int


PackAll = Callable[[Sequence[Job], PackSettings], Iterator[tuple[Job, Packed]]]
"""Yields each job with its result, in order of completion."""


def grid(num_total: int, *, num_frames: int) -> range | list[int]:
    """The frames to keep: the middle frame of each of ``num_frames`` equal parts.

    All frames are kept if num_frames is 0 or the video is shorter. Frame i of a packed video represents the i-th part
    of the original, so segments of the packed video match segments of the original. If num_frames is an odd multiple
    of data.num_frames, the kept frames include the test frames of `segments`.
    """
    if num_frames == 0 or num_total <= num_frames:
        return range(num_total)
    return [(2 * i + 1) * num_total // (2 * num_frames) for i in range(num_frames)]


def pack(
    spec: DataSpec,
    target: Path,
    settings: PackSettings,
    *,
    workers: int = 1,
    pack_all: PackAll | None = None,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Pack both splits of a data set into a folder. The result is a data set in the layout csv, with a classes.txt.

    Videos that an earlier call packed from the same bytes with the same settings are kept. ``workers``: number of
    processes; 1 means this process. ``pack_all`` replaces this way to run the jobs. Raises BadInput if the folder
    holds another pack or the disk is full, and TooManyDamaged if a split has more damaged videos than
    ``spec.max_damaged`` allows. After an error the packed videos stay, and the same call continues.
    """
    manifest, root = build_manifest(spec, cache=cache), data_root(spec)
    clips = {clip.path: clip for split in SPLITS for clip in manifest.split(split)}
    _refuse_packed(root, clips)
    outside = [path for path in clips if not is_inside(path)]
    if outside:  # each would be packed to the same place relative to the pack, which is outside of it
        raise BadInput(
            f"{root}: {len(outside)} videos lie outside of this data root: {some(outside)}; to pack them, link them "
            "into it, or set data.root to a folder that holds them all"
        )
    source = {"name": spec.name, "manifest_sha256": manifest.sha256}
    known = known_digests(target)
    begin(target, settings, source=source)
    jobs = [
        Job(on_disk(root / clip.path), target / _packed_path(clip.path), clip, known.get(_packed_path(clip.path)))
        for clip in clips.values()
    ]
    results: dict[str, Packed] = {}
    try:
        for job, result in (pack_all or partial(_pack_all, workers=workers))(jobs, settings):
            results[job.clip.path] = result
            if on_progress is not None:
                on_progress(len(results), len(jobs))
    except OSError as error:
        done = f"{len(results)} of {len(jobs)} videos are packed"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadInput(f"{target}: the disk is full ({error}); {done}; make room, then {AGAIN}") from error
        raise ReskdError(f"{error}; {done}; {AGAIN}") from error
    damaged = tuple((path, results[path].reason) for path in clips if results[path].video is None)
    write_atomic(target / DAMAGED, csv_text(("path", "reason"), damaged))
    _refuse_damaged(manifest, results, spec=spec, target=target)
    _write_annotations(target, manifest, results)
    videos = [video for path in clips if (video := results[path].video) is not None]
    finish(target, settings, source=source, videos=videos, versions=_versions(), num_damaged=len(damaged))
    num_kept = sum(result.was_there for result in results.values())
    return PackReport(
        num_packed=len(videos) - num_kept,
        num_kept=num_kept,
        damaged=damaged,
        num_bytes=sum(video.size for video in videos),
        num_source_bytes=sum(video.source_size for video in videos),
    )


def pack_one(job: Job, settings: PackSettings) -> Packed:
    """Pack one video, unless it is packed already. Damage is returned as the reason; an OSError is raised."""
    there = _finished(job, settings)
    if there is not None:
        return Packed(there, was_there=True)
    try:
        content, facts = _packed(job, settings)
    except DecodeError as error:
        job.target.unlink(missing_ok=True)
        return Packed(None, error.reason)
    write_atomic(job.target, content)
    return Packed(_row(job, facts))


def _packed(job: Job, settings: PackSettings) -> tuple[bytes, PackedFacts]:
    keep = partial(_shrink, short_side=settings.short_side, resample=settings.resample)

    def encode(image: NDArray[np.uint8]) -> tuple[tuple[int, ...], bytes]:
        small = keep(image)
        content = io.BytesIO()
        Image.fromarray(small).save(content, "JPEG", quality=settings.quality, subsampling="4:2:0")
        return small.shape, content.getvalue()

    read_once = frames.read_once if job.source.is_dir() else pyav.read_once
    once = read_once(job.source, partial(grid, num_frames=settings.num_frames), encode)
    shapes = {shape for _, _, (shape, _) in once.kept}
    if len(shapes) > 1:
        sizes = " and ".join(sorted(f"{shape[1]}x{shape[0]}" for shape in shapes))
        raise VideoReadError(str(job.source), f"frames differ in size: {sizes}")
    height, width, _ = shapes.pop()
    facts = PackedFacts(
        source=job.clip.path,
        source_size=job.clip.size,
        source_digest=job.clip.digest,
        num_source_frames=once.num_frames,
        indices=tuple(number for number, _, _ in once.kept),
        times_s=tuple(time_s for _, time_s, _ in once.kept),
        fps=once.fps,
        height=height,
        width=width,
        settings=settings.record(),
        versions=_versions(),
        rules=RULES,
    )
    return packed_bytes([jpeg for _, _, (_, jpeg) in once.kept], facts), facts


def _shrink(image: NDArray[np.uint8], *, short_side: int, resample: Resample) -> NDArray[np.uint8]:
    """Resize (H, W, 3) as the loader does. So in a pack at data.short_side and resample, JPEG is the only loss."""
    if min(image.shape[:2]) <= short_side:
        return np.ascontiguousarray(image)
    return small_image(image, short_side=short_side, resample=resample)


def _finished(job: Job, settings: PackSettings) -> PackedVideo | None:
    """The packed video if an earlier call wrote it from the same bytes with these settings and rules, else None."""
    try:
        facts = read_facts(job.target)
    except (FileNotFoundError, DecodeError):
        return None
    of_this = (job.clip.size, job.clip.digest, settings.record(), RULES)
    if (facts.source_size, facts.source_digest, facts.settings, facts.rules) != of_this:
        return None
    row = _row(job, facts)
    return row if job.known_digest in (None, row.digest) else None


def _row(job: Job, facts: PackedFacts) -> PackedVideo:
    size = job.target.stat().st_size
    return PackedVideo(
        path=_packed_path(job.clip.path),
        size=size,
        digest=file_digest(job.target, size=size),
        source=job.clip.path,
        source_size=job.clip.size,
        source_digest=job.clip.digest,
        num_frames=len(facts.indices),
        num_source_frames=facts.num_source_frames,
    )


def _pack_all(jobs: Sequence[Job], settings: PackSettings, *, workers: int) -> Iterator[tuple[Job, Packed]]:
    one = partial(pack_alone if workers > 1 else pack_one, settings=settings)
    if workers == 1:
        for job in jobs:
            yield job, one(job)
        return
    for job, result in map_in_processes(one, jobs, workers=min(workers, len(jobs))):
        yield job, Packed(None, result.reason) if isinstance(result, Lost) else result


def pack_alone(job: Job, settings: PackSettings) -> Packed:
    """`pack_one` with one torch thread, for a process that runs beside others."""
    torch.set_num_threads(1)
    return pack_one(job, settings)


def _packed_path(path: str) -> str:
    return f"videos/{path}{PACKED_SUFFIX}"


def _refuse_packed(root: Path, paths: Sequence[str] | dict[str, Clip]) -> None:
    packed = [path for path in paths if path.endswith(PACKED_SUFFIX)]
    if packed:
        raise BadInput(f"{root}: {len(packed)} videos are packed already: {some(packed)}; pack from the originals")


def _refuse_damaged(manifest: Manifest, results: dict[str, Packed], *, spec: DataSpec, target: Path) -> None:
    for split in SPLITS:
        paths = [clip.path for clip in manifest.split(split)]
        damaged = [path for path in paths if results[path].video is None]
        if len(damaged) > spec.max_damaged * len(paths) or len(damaged) == len(paths):
            raise TooManyDamaged(
                f"{len(damaged)} of {len(paths)} {split} videos do not decode: {some(damaged)}; {target / DAMAGED} "
                f"lists them; repair or remove them, or raise data.max_damaged, now {spec.max_damaged:g}; then {AGAIN}"
            )


def _write_annotations(target: Path, manifest: Manifest, results: dict[str, Packed]) -> None:
    write_atomic(target / CLASSES, "".join(f"{name}\n" for name in manifest.classes))
    for split in SPLITS:
        kept = [clip for clip in manifest.split(split) if results[clip.path].video is not None]
        most = max(len(clip.labels) for clip in kept)
        rows = [(_packed_path(clip.path), *(manifest.classes[label] for label in clip.labels)) for clip in kept]
        padded = [(*row, *[""] * (1 + most - len(row))) for row in rows]
        write_atomic(target / f"{split}.csv", csv_text(("path", *["label"] * most), padded))


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("av", "pillow", "torch", "numpy")}
    return {**found, "libjpeg_turbo": str(features.version("libjpeg_turbo")), "machine": os.uname().machine}
