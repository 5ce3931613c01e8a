"""Annotations that are no CSV: class folders, and ActivityNet's JSON. Rows out, their labels still names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reskd.errors import BadInput

EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
"""What counts as a video in a folder, in any case."""

SUBSETS: dict[Literal["train", "val"], str] = {"train": "training", "val": "validation"}


@dataclass(frozen=True, slots=True)
class Row:
    """One video of a split as an annotation names it."""

    where: str
    """File and place in it, for an error."""
    path: str
    """Posix, relative to the data root."""
    labels: tuple[str, ...]


def read_folders(root: Path, split: str) -> tuple[Row, ...]:
    """``root/<split>/<class>/<video>``: the folder's name is the label; ordered by path. BadInput if none is there."""
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


def read_activitynet(root: Path, file: Path, split: Literal["train", "val"]) -> tuple[Row, ...]:
    """The videos of ``training`` or ``validation`` of ActivityNet's JSON in the file's order, with all their labels.

    A video is the file ``v_<id>`` anywhere under the root, whatever its extension; one that is not there keeps the
    name ``v_<id>.mp4``, so that the manifest counts and names the missing. Segments are not looked at.
    """
    database = _database(file)
    lying = _videos_by_id(root)
    rows = []
    for video_id, entry in database.items():
        where = f"{file}: video {video_id!r}"
        if not isinstance(entry, dict) or entry.get("subset") not in (*SUBSETS.values(), "testing"):
            raise BadInput(f"{where}: 'subset' must be training, validation or testing; correct the entry")
        if entry["subset"] != SUBSETS[split]:
            continue
        found = lying.get(video_id, [])
        if len(found) > 1:
            raise BadInput(f"{where}: lies here {len(found)} times: {', '.join(found)}; keep one")
        path = found[0] if found else f"v_{video_id}.mp4"
        rows.append(Row(where=where, path=path, labels=_labels(entry, where=where)))
    if not rows:
        raise BadInput(f"{file}: no video of subset {SUBSETS[split]!r}; is it the annotation file of ActivityNet 1.3?")
    return tuple(rows)


def _database(file: Path) -> Mapping[str, Any]:
    try:
        database = json.loads(file.read_text(encoding="utf-8-sig"))["database"]
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file; see data.root, data.train and data.val") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: not ActivityNet's JSON ({error!r}); it has an object 'database' at its top") from error
    if not isinstance(database, dict):
        raise BadInput(f"{file}: 'database' is a {type(database).__name__}; it must be an object with an entry a video")
    return database


def _labels(entry: Mapping[str, Any], *, where: str) -> tuple[str, ...]:
    """Distinct labels, in the order of their first segment."""
    annotations = entry.get("annotations")
    try:
        labels = [annotation["label"] for annotation in annotations or []]
    except (TypeError, KeyError):
        labels = [None]
    if not labels or not all(isinstance(label, str) and label for label in labels):
        raise BadInput(f"{where}: 'annotations' must be a list of objects with a 'label'; correct or remove the entry")
    return tuple(dict.fromkeys(labels))


def _videos_by_id(root: Path) -> dict[str, list[str]]:
    """Paths of the files ``v_<id>.<extension>`` under the root, relative to it, by id."""
    found: dict[str, list[str]] = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in sorted(names):
            stem, extension = os.path.splitext(name)
            if stem.startswith("v_") and extension.lower() in EXTENSIONS:
                path = (Path(folder) / name).relative_to(root).as_posix()
                found.setdefault(stem.removeprefix("v_"), []).append(path)
    return found
