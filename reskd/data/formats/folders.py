"""folders: ``<split>/<class>/<video>``. The name of the class folder is the label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import EXTENSIONS, Row, Splits, some
from reskd.errors import BadInput, brief
from reskd.files import on_disk
from reskd.recipe import DataSpec
from reskd.text import composed, visible

MAX_KINDS = 4
"""How many kinds of files the line about those left out names."""


def read(spec: DataSpec, root: Path) -> Splits:
    """Read both splits, ordered by path. Raises BadInput for a split without a video."""
    train, left_of_train = _read_split(root, spec.train)
    val, left_of_val = _read_split(root, spec.val)
    return Splits(train=train, val=val, left_out=(*left_of_train, *left_of_val))


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    for clip in clips:
        clip.save(root / clip.split / clip.labels[0] / f"{clip.name}.mkv")
    return Written("train", "val")


def _read_split(root: Path, split: str) -> tuple[tuple[Row, ...], list[str]]:
    """The videos, and a line about what is left out, if anything is."""
    folder = on_disk(root / split)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; with data.annotations folders, data.train and data.val name folders")
    rows = [
        Row(
            where=visible(str(video)),
            path=composed(video.relative_to(root).as_posix()),
            labels=(composed(class_folder.name),),
        )
        for class_folder in _visible(folder)
        if class_folder.is_dir()
        for video in _visible(class_folder)
        if video.suffix.lower() in EXTENSIONS
    ]
    repeated = [row.path for row, after in pairwise(sorted(rows, key=lambda row: row.path)) if row.path == after.path]
    if repeated:
        raise BadInput(
            f"{folder}: {len(repeated)} names are here twice, with accents written in two ways: {some(repeated)}; "
            "keep one of each"
        )
    if not rows:
        raise BadInput(
            f"{folder}: no video in any class folder; put them in {folder}/<class>/ as {', '.join(EXTENSIONS)}"
        )
    return tuple(rows), _left_out(folder)


def _left_out(folder: Path) -> list[str]:
    """A line that counts by their kind the files and folders that are no videos here; empty if there are none."""
    kinds: dict[str, list[str]] = {}
    for place in _visible(folder):
        if not place.is_dir():
            kinds.setdefault("outside of class folders", []).append(place.name)
            continue
        for path in place.iterdir():
            is_video = path.suffix.lower() in EXTENSIONS
            is_hidden = path.name.startswith(".")
            if (is_hidden and (not is_video or path.name.startswith("._"))) or (is_video and not is_hidden):
                continue  # a video, or what a system leaves in folders, such as .DS_Store
            kind = "nested folder" if path.is_dir() else path.suffix.lower() or "without an extension"
            kinds.setdefault("hidden" if is_hidden else kind, []).append(f"{place.name}/{path.name}")
    if not kinds:
        return []
    most = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    named = [f"{len(names)} x {visible(brief(kind, most=30))} ({some(sorted(names)[:1])})" for kind, names in most]
    more = f" and {len(named) - MAX_KINDS} more kinds" if len(named) > MAX_KINDS else ""
    return [
        f"{folder}: left out: {', '.join(named[:MAX_KINDS])}{more}; a video is <class>/<name> with "
        f"{', '.join(EXTENSIONS)}: convert the others, or list them with data.annotations csv"
    ]


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without hidden files and folders, such as the `._a.mp4` of a Mac."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(found, key=lambda path: composed(path.name))
