"""folders: ``<split>/<class>/<video>``. The name of the class folder is the label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import EXTENSIONS, Row, Splits
from reskd.errors import BadInput
from reskd.recipe import DataSpec


def read(spec: DataSpec, root: Path) -> Splits:
    """Read both splits, ordered by path. Raises BadInput for a split without a video."""
    return Splits(train=_read_split(root, spec.train), val=_read_split(root, spec.val))


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    for clip in clips:
        clip.save(root / clip.split / clip.labels[0] / f"{clip.name}.mkv")
    return Written("train", "val")


def _read_split(root: Path, split: str) -> tuple[Row, ...]:
    folder = root / split
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; with data.annotations folders, data.train and data.val name folders")
    rows = []
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        videos = sorted(path for path in class_folder.iterdir() if path.suffix.lower() in EXTENSIONS)
        rows += [
            Row(where=str(video), path=video.relative_to(root).as_posix(), labels=(class_folder.name,))
            for video in videos
        ]
    if not rows:
        raise BadInput(
            f"{folder}: no video in any class folder; put them in {folder}/<class>/ as {', '.join(EXTENSIONS)}"
        )
    return tuple(rows)
