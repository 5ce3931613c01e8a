"""The manifest: path, size, content digest and labels of every clip. Its hash is the data's part of a step's id."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from reskd.data.annotations import VideoRecord, data_root, load_annotations
from reskd.data.decode.frames import frame_names
from reskd.data.formats.rows import Split, some
from reskd.data.pack_record import read_videos, refuse_mismatch
from reskd.digest import with_digest
from reskd.errors import BadInput, Damaged, reason_of
from reskd.files import ABSENT, json_value, on_disk, open_file, parse_json, read_file, write_atomic, write_cache
from reskd.recipe import DataSpec

WHOLE_BYTES = 1 << 20
NUM_CHUNKS = 16
CHUNK_BYTES = 64 << 10
NUM_THREADS = 8
PATHS_PER_TASK = 64
SETTLED_NS = 2_000_000_000
CACHE_AGAIN = "delete it, or name another file"

Value = TypeVar("Value")
Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clip:
    """One video: the facts that are hashed."""

    path: str
    """Posix, relative to the data root."""
    size: int
    """Size in bytes. For a folder of frames: the sum over its frames."""
    digest: str
    """Digest of the content; see ``file_digest`` and ``folder_digest``."""
    labels: tuple[int, ...]
    """Indices into the classes: at least one, each once, ascending."""


@dataclass(frozen=True)
class Manifest:
    """A data set. Two manifests with the same ``sha256`` give the same training, whatever their names are."""

    name: str
    classes: tuple[str, ...]
    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    missing: Mapping[Split, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """Annotated videos that are missing and left out, by split. They are not hashed: the remaining clips are."""

    @functools.cached_property
    def sha256(self) -> str:
        """Hex sha256 of the canonical JSON of the classes and both splits, in order. The name is not part of it."""
        payload = {key: value for key, value in _as_json(self).items() if key not in ("name", "missing")}
        canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def num_missing(self, split: Split) -> int:
        return len(self.missing.get(split, ()))

    def split(self, split: Split) -> tuple[Clip, ...]:
        return self.train if split == "train" else self.val


def build_manifest(spec: DataSpec, *, cache: Path | None = None) -> Manifest:
    """Build the manifest from the files on this machine.

    ``cache`` is a JSON file of digests by path, size and modification time. A file with all three unchanged is not read
    again. Raises BadInput if more videos are missing than ``spec.allow_missing`` allows, with their number and first
    names. Raises it too for an unfinished pack, or one whose videos differ from its list.
    """
    root = data_root(spec)
    read_videos(root)  # reports an unfinished pack before any other error
    annotations = load_annotations(spec)
    for line in annotations.left_out:
        logger.warning("%s", line)
    paths = tuple(dict.fromkeys(record.path for record in (*annotations.train, *annotations.val)))
    now_ns = time.time_ns()
    found = zip(paths, _map_in_threads(lambda path: size_and_time(on_disk(root / path)), paths), strict=True)
    stamps = {path: stamp for path, stamp in found if stamp is not None}
    records: dict[Split, tuple[VideoRecord, ...]] = {"train": annotations.train, "val": annotations.val}
    missing = _missing(records, stamps, spec=spec, root=root)
    digests = _digests(root, stamps, cache=cache, now_ns=now_ns)
    refuse_mismatch(root, {path: (stamp[0], digests[path]) for path, stamp in stamps.items()})

    def clips(split: Split) -> tuple[Clip, ...]:
        here = (record for record in records[split] if record.path in stamps)
        return tuple(Clip(record.path, stamps[record.path][0], digests[record.path], record.labels) for record in here)

    return Manifest(spec.name, annotations.classes, clips("train"), clips("val"), missing)


def num_allowed_missing(allow_missing: float, *, num_videos: int) -> int:
    """How many videos of a split may be missing. A limit below 1 is a share; from 1 on it is a number of videos."""
    return int(allow_missing * num_videos + 1e-9) if allow_missing < 1 else int(allow_missing)


def file_digest(path: Path, *, size: int) -> str:
    """Hex sha256 of a file: of its whole content up to 1 MiB, of a sample for a larger file.

    The sample is the size as decimal text and 16 evenly spaced chunks of 64 KiB, from the first byte to the last. So a
    set of large videos is hashed in minutes. An edit between two chunks that keeps the size is not detected.
    """
    try:
        if size <= WHOLE_BYTES:
            return hashlib.sha256(read_file(path, max_bytes=WHOLE_BYTES)).hexdigest()
        digest = hashlib.sha256(str(size).encode())
        with open_file(path) as file:
            for i in range(NUM_CHUNKS):
                file.seek(i * (size - CHUNK_BYTES) // (NUM_CHUNKS - 1))
                digest.update(file.read(CHUNK_BYTES))
        return digest.hexdigest()
    except OSError as error:
        raise OSError(error.errno, reason_of(error), str(path)) from error  # a failed read names no file


def folder_digest(folder: Path) -> str:
    """Hex sha256 of a folder of frames: names and sizes of all frames, and the content of NUM_CHUNKS of them.

    Those frames are evenly spaced, from the first to the last. With fewer frames, the content of all is hashed.
    """
    names = frame_names(folder)
    sizes = [(folder / name).stat().st_size for name in names]
    digest = hashlib.sha256(json.dumps([names, sizes]).encode())
    last = len(names) - 1
    places = range(len(names)) if last < NUM_CHUNKS else [i * last // (NUM_CHUNKS - 1) for i in range(NUM_CHUNKS)]
    for place in places:
        digest.update((folder / names[place]).read_bytes())
    return digest.hexdigest()


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the manifest and its hash as JSON. The write is atomic: a reader sees the old file or the new one."""
    write_atomic(path, manifest_bytes(manifest))


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest and its hash as the content of a JSON file."""
    return with_digest(json.dumps({"sha256": manifest.sha256, **_as_json(manifest)}, indent=0).encode())


def read_manifest(path: Path) -> Manifest:
    """Read a file of ``write_manifest``. Raises BadInput if it is no manifest or does not match its own hash."""
    return parse_manifest(path.read_bytes(), where=str(path))


def parse_manifest(written: bytes, *, where: str) -> Manifest:
    """The manifest in the content of such a file."""
    way_out = "remove it; the next command that sees the videos writes it again"
    content = parse_json(written, where=where, way_out=way_out)
    try:
        train, val = (
            tuple(Clip(file, size, digest, tuple(labels)) for file, size, digest, labels in content[split])
            for split in ("train", "val")
        )
        missing = {split: tuple(paths) for split, paths in content.get("missing", {}).items()}
        manifest = Manifest(content["name"], tuple(content["classes"]), train, val, missing)
        is_whole = manifest.sha256 == content["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(where, f"not a manifest: {reason_of(error)}", way_out) from error
    if not is_whole:
        raise Damaged(where, f"sha256 {content['sha256']!r} is not that of its content", way_out)
    return manifest


def _as_json(manifest: Manifest) -> dict[str, Any]:
    def rows(clips: tuple[Clip, ...]) -> list[list[Any]]:
        return [[clip.path, clip.size, clip.digest, list(clip.labels)] for clip in clips]

    return {
        "name": manifest.name,
        "classes": list(manifest.classes),
        "train": rows(manifest.train),
        "val": rows(manifest.val),
        **({"missing": manifest.missing} if manifest.missing else {}),
    }


def _missing(
    records: Mapping[Split, Sequence[VideoRecord]], stamps: Mapping[str, Stamp], *, spec: DataSpec, root: Path
) -> dict[Split, tuple[str, ...]]:
    """The missing videos by split; they are logged. Raises BadInput if they exceed the limit or are a whole split."""
    missing = {
        split: tuple(record.path for record in of_split if record.path not in stamps)
        for split, of_split in records.items()
    }
    too_many = {
        split: paths
        for split, paths in missing.items()
        if len(paths) > num_allowed_missing(spec.allow_missing, num_videos=len(records[split]))
    }
    if too_many:
        names = list(dict.fromkeys(path for paths in missing.values() for path in paths))
        num_videos = len({record.path for of_split in records.values() for record in of_split})
        raise BadInput(
            f"{root}: {len(names)} of {num_videos} videos are missing: {some(names)}; put them there, set data.root to "
            f"where they are, or allow it with data.allow_missing, now {spec.allow_missing:g}: a share of a split "
            "below 1, a number of its videos from 1 on"
        )
    for split, paths in missing.items():
        if len(paths) == len(records[split]):
            raise BadInput(f"{root}: all {len(paths)} videos of data.{split} are missing: {some(paths)}")
        if paths:
            text = "%s: %d of %d %s videos are missing and left out: %s"
            logger.warning(text, root, len(paths), len(records[split]), split, some(paths))
    return {split: paths for split, paths in missing.items() if paths}


def _digests(root: Path, stamps: Mapping[str, Stamp], *, cache: Path | None, now_ns: int) -> dict[str, str]:
    """Digest of every file or folder of frames, by relative path. Files that the cache knows unchanged are not read."""
    known = _read_cache(cache)
    names = {path: os.path.join(root, path) for path in stamps}  # ten times faster than joining with Path
    digests = {path: fact[2] for path in stamps if (fact := known.get(names[path])) and fact[:2] == stamps[path]}
    unknown = [path for path in stamps if path not in digests]

    def digest(path: str) -> str:
        place = on_disk(root / path)
        return folder_digest(place) if place.is_dir() else file_digest(place, size=stamps[path][0])

    digests |= zip(unknown, _map_in_threads(digest, unknown), strict=True)
    if cache is not None:
        # A file written a moment ago may change again with the same time stamp, so it is read again next time.
        settled = {
            names[path]: (*stamps[path], digests[path]) for path in unknown if stamps[path][1] < now_ns - SETTLED_NS
        }
        if settled:
            write_cache(cache, json.dumps({**known, **settled}, indent=0))
    return digests


def _map_in_threads(function: Callable[[str], Value], paths: Sequence[str]) -> Iterator[Value]:
    """Apply the function in threads and keep the order. Threads help on a slow disk. Each task has many paths, since
    starting a task costs more than one path does."""
    parts = [paths[first : first + PATHS_PER_TASK] for first in range(0, len(paths), PATHS_PER_TASK)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        yield from chain.from_iterable(pool.map(lambda part: [function(path) for path in part], parts))


def size_and_time(path: Path) -> Stamp | None:
    """Size in bytes and modification time in nanoseconds; None if there is no such file. Raises other OSErrors.

    For a folder of frames: the sum of the frames' sizes, and the newest time of the folder and its frames. None for a
    folder without frames.
    """
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    if stat.S_ISDIR(status.st_mode):
        frames = [(path / name).stat() for name in frame_names(path)]
        newest = max([status.st_mtime_ns, *(frame.st_mtime_ns for frame in frames)])
        return (sum(frame.st_size for frame in frames), newest) if frames else None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _read_cache(cache: Path | None) -> dict[str, tuple[int, int, str]]:
    if cache is None or not cache.exists():
        return {}
    entries = json_value(cache.read_bytes(), where=str(cache), what="a cache of digests", way_out=CACHE_AGAIN)
    try:
        return {path: (size, mtime_ns, digest) for path, (size, mtime_ns, digest) in entries.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{cache}: not a cache of digests ({reason_of(error)}); {CACHE_AGAIN}") from error
