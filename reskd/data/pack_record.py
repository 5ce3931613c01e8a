"""The record of a packed data set (`pack.json`, `videos.csv`), and the check that its videos are unchanged."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from reskd.data.formats.rows import some
from reskd.errors import BadInput, reason_of
from reskd.files import read_json, write_atomic, write_json
from reskd.recipe import Resample

RECORD, VIDEOS = "pack.json", "videos.csv"
COLUMNS = ("path", "size", "digest", "source", "source_size", "source_digest", "num_frames", "num_source_frames")
FORMAT = 1
AGAIN = "type the same `reskd data pack` command again: what is whole stays"


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSettings:
    """The settings that decide the pixels of a packed video."""

    num_frames: int
    """Frames kept per video; 0 keeps all. A shorter video keeps all its frames."""
    short_side: int = 256
    """Length of the shorter side in pixels. A smaller video is not enlarged."""
    quality: int = 90
    """JPEG quality, 1 to 100."""
    resample: Resample = "antialias"
    """How larger frames are made smaller, as data.resample."""

    def __post_init__(self) -> None:
        for name, least, most in (("num_frames", 0, None), ("short_side", 16, None), ("quality", 1, 100)):
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                limit = f"at least {least}" if most is None else f"from {least} to {most}"
                raise BadInput(f"--{_OPTIONS[name]} must be {limit}, got {value}")
        if self.resample not in get_args(Resample):
            raise BadInput(f"--resample must be one of {', '.join(get_args(Resample))}, got {self.resample!r}")

    def record(self) -> dict[str, int | str]:
        """Plain values; a later addition is left out at its default, as in older packs."""
        plain = asdict(self)
        if self.resample == "antialias":
            del plain["resample"]
        return plain

    @property
    def words(self) -> str:
        frames = f"up to {self.num_frames} frames a video" if self.num_frames else "all frames"
        resized = "" if self.resample == "antialias" else ", resized without antialiasing"
        return f"packed as lossy JPEG: {frames}, quality {self.quality}, short side at most {self.short_side}{resized}"


_OPTIONS = {"num_frames": "frames", "short_side": "short-side", "quality": "quality", "resample": "resample"}


@dataclass(frozen=True, slots=True)
class PackedVideo:
    """A row of `videos.csv`. Digests are those of `reskd.data.manifest`."""

    path: str
    size: int
    digest: str
    source: str
    source_size: int
    source_digest: str
    num_frames: int
    num_source_frames: int


def read_settings(root: Path) -> PackSettings | None:
    """The settings of a packed data set, finished or not; None if the folder is no pack."""
    record = read_json(root / RECORD)
    return None if record is None else _settings(root, record)


def packed_words(root: Path) -> str:
    """How the videos were packed, in words for a table's head; empty for original videos."""
    settings = read_settings(root)
    return "" if settings is None else settings.words


def begin(root: Path, settings: PackSettings, *, source: Mapping[str, Any]) -> None:
    """Mark a folder as an unfinished pack. Raises BadInput if it has other settings or other content."""
    known = read_settings(root)
    if known is not None and known != settings:
        differ = [
            f"--{_OPTIONS[field.name]} was {getattr(known, field.name)} and is {getattr(settings, field.name)}"
            for field in fields(settings)
            if getattr(known, field.name) != getattr(settings, field.name)
        ]
        raise BadInput(f"{root} was packed otherwise: {', '.join(differ)}; name another folder, or remove this one")
    if known is None and root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BadInput(f"{root} exists already and is no pack; name a new folder")
    record = {"format": FORMAT, "is_whole": False, "settings": settings.record(), "source": dict(source)}
    write_json(root / RECORD, record)


def finish(
    root: Path,
    settings: PackSettings,
    *,
    source: Mapping[str, Any],
    videos: Sequence[PackedVideo],
    versions: Mapping[str, str],
    num_damaged: int,
) -> None:
    """Write the list of videos, then the record that marks the pack as finished."""
    listed = csv_text(COLUMNS, ([getattr(video, name) for name in COLUMNS] for video in videos)).encode()
    write_atomic(root / VIDEOS, listed)
    record = {
        "format": FORMAT,
        "is_whole": True,
        "settings": settings.record(),
        "source": dict(source),
        "versions": dict(versions),
        "num_videos": len(videos),
        "num_damaged": num_damaged,
        "num_bytes": sum(video.size for video in videos),
        "videos_sha256": hashlib.sha256(listed).hexdigest(),
    }
    write_json(root / RECORD, record)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    content = io.StringIO(newline="")
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return content.getvalue()


def read_videos(root: Path) -> dict[str, PackedVideo] | None:
    """The videos of a packed data set by path; None if the folder is no pack.

    Raises BadInput if the pack is unfinished or its list is damaged.
    """
    record = read_json(root / RECORD)
    if record is None:
        return None
    _settings(root, record)
    if not record.get("is_whole"):
        raise BadInput(f"{root}: half a pack: packing was not finished; {AGAIN}")
    try:
        listed = (root / VIDEOS).read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{root / VIDEOS}: no such file, but {RECORD} says the pack is whole; {AGAIN}") from None
    if hashlib.sha256(listed).hexdigest() != record.get("videos_sha256"):
        raise BadInput(f"{root / VIDEOS}: not the list that {RECORD} was written with; {AGAIN}")
    rows = csv.reader(io.StringIO(listed.decode()))
    next(rows)
    return {
        path: PackedVideo(path, int(size), digest, source, int(source_size), source_digest, int(kept), int(total))
        for path, size, digest, source, source_size, source_digest, kept, total in rows
    }


def refuse_mismatch(root: Path, found: Mapping[str, tuple[int, str]]) -> None:
    """Raise BadInput if packed videos differ from the pack's list. ``found``: path -> (size in bytes, digest).

    Files that are not in the list are refused too. Listed videos that are not in ``found`` are missing; this function
    does not check that. A folder that is no pack passes.
    """
    known = read_videos(root)
    if known is None:
        return
    strangers = [path for path in found if path not in known]
    changed = [path for path, fact in found.items() if path in known and fact != (known[path].size, known[path].digest)]
    if strangers:
        raise BadInput(
            f"{root}: {len(strangers)} annotated videos are not in the pack's {VIDEOS}: {some(strangers)}; {AGAIN}"
        )
    if changed:
        raise BadInput(
            f"{root}: {len(changed)} of {len(known)} packed videos are not as they were packed: {some(changed)}; "
            f"{AGAIN}"
        )


def _settings(root: Path, record: Mapping[str, Any]) -> PackSettings:
    try:
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, this version knows {FORMAT}")
        return PackSettings(**record["settings"])
    except (KeyError, TypeError, ValueError) as error:
        reason = (
            f"{root / RECORD}: not the record of a pack ({reason_of(error)}); name another folder, or remove this one"
        )
        raise BadInput(reason) from error


def known_digests(root: Path) -> dict[str, str]:
    """Path -> digest from the list of the last finished pack; empty if there is no readable list."""
    try:
        rows = csv.reader(io.StringIO((root / VIDEOS).read_text(encoding="utf-8")))
        next(rows)
        return {row[0]: row[2] for row in rows}
    except (OSError, ValueError, IndexError, StopIteration):
        return {}
