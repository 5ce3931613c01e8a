"""folders: ``<split>/<class>/<video>``. The name of the class folder is the label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import EXTENSIONS, Row, Splits, some
from reskd.errors import BadInput
from reskd.files import on_disk
from reskd.recipe import DataSpec
from reskd.text import composed, visible


def read(spec: DataSpec, root: Path) -> Splits:
    """Read both splits, ordered by path. Raises BadInput for a split without a video."""
    return Splits(train=_read_split(root, spec.train), val=_read_split(root, spec.val))


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    for clip in clips:
        clip.save(root / clip.split / clip.labels[0] / f"{clip.name}.mkv")
    return Written("train", "val")


def _read_split(root: Path, split: str) -> tuple[Row, ...]:
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
    return tuple(rows)


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without hidden files and folders, such as the `._a.mp4` of a Mac."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(found, key=lambda path: composed(path.name))
