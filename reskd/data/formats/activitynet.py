"""activitynet: the JSON of ActivityNet 1.3. Its subsets are the splits. A video has the labels of all its segments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from reskd.data.formats.drawn import CLIP_SECONDS, DrawnClip, Written
from reskd.data.formats.rows import Row, Split, Splits, choose, locate, read_json, refuse, some
from reskd.errors import BadInput
from reskd.recipe import DataSpec

SUBSETS: dict[Split, str] = {"train": "training", "val": "validation"}
MAX_TIME_S = 1e9
TOLERANCE_S = 0.5
"""A segment may end this much after its video without a remark, since both times are rounded."""


def read(spec: DataSpec, root: Path) -> Splits:
    """Read videos in the file's order. A video is the file or folder of frames ``v_<id>``, anywhere under the root.

    A missing video gets the name ``v_<id>.mp4``, so that the manifest counts and names it.
    """
    databases = {name: _database(root / name) for name in dict.fromkeys((spec.train, spec.val))}
    lying = locate(root, {f"v_{video_id}" for database in databases.values() for video_id in database})
    train, late_train = _read_split(databases[spec.train], root / spec.train, split="train", lying=lying)
    val, late_val = _read_split(databases[spec.val], root / spec.val, split="val", lying=lying)
    late = late_train + late_val
    remark = f"{len(late)} videos have a segment that ends after the video's stated duration: {some(late)}"
    return Splits(train=train, val=val, remarks=(remark,) if late else ())


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    database = {}
    for number, clip in enumerate(clips):
        clip.save(root / clip.labels[0] / f"v_{clip.name}{'.mkv' if number % 2 else '.mp4'}")
        segments = [{"label": label, "segment": [0.0, CLIP_SECONDS]} for label in clip.labels]
        database[clip.name] = {"subset": SUBSETS[clip.split], "duration": CLIP_SECONDS, "annotations": segments}
    (root / "activitynet.json").write_text(json.dumps({"version": "1.3", "database": database}), encoding="utf-8")
    return Written("activitynet.json", "activitynet.json")


def _database(file: Path) -> Mapping[str, Any]:
    content = read_json(file, what="ActivityNet's JSON")
    database = content.get("database") if isinstance(content, dict) else None
    if database is None:
        raise BadInput(f"{file}: not ActivityNet's JSON; it has an object 'database' at its top")
    if not isinstance(database, dict):
        raise BadInput(f"{file}: 'database' is a {type(database).__name__}; it must be an object with an entry a video")
    return database


def _read_split(
    database: Mapping[str, Any], file: Path, *, split: Split, lying: Mapping[str, Sequence[str]]
) -> tuple[tuple[Row, ...], list[str]]:
    """The rows, and a text for each video with a segment that ends after the video."""
    rows, late, problems = [], list[str](), dict[str, str]()
    for video_id, entry in database.items():
        where = f"{file}: video {video_id!r}"
        if not isinstance(entry, dict) or entry.get("subset") not in (*SUBSETS.values(), "testing"):
            problems[video_id] = f"{where}: 'subset' must be training, validation or testing; correct the entry"
            continue
        if entry["subset"] != SUBSETS[split]:
            continue
        name = f"v_{video_id}"
        path = choose(lying.get(name, ()), missing=f"{name}.mp4", where=where, problems=problems, key=video_id)
        try:
            labels, end_s = _labels(entry)
        except BadInput as error:
            problems[video_id] = f"{where}: {error}"
            continue
        rows.append(Row(where=where, path=path, labels=labels, end_s=end_s))
        duration_s = entry.get("duration")
        if _is_time(duration_s) and end_s is not None and end_s > duration_s + TOLERANCE_S:
            late.append(f"{video_id} ({end_s:g} of {duration_s:g} s)")
    refuse(problems)
    if not rows:
        raise BadInput(f"{file}: no video of subset {SUBSETS[split]!r}; is it the annotation file of ActivityNet 1.3?")
    return tuple(rows), late


def _is_time(value: Any) -> TypeGuard[float]:
    """Whether a value is a time in a video, in seconds; neither NaN nor a number that no float can be."""
    return type(value) in (int, float) and 0 <= value <= MAX_TIME_S


def _labels(entry: Mapping[str, Any]) -> tuple[tuple[str, ...], float | None]:
    """Distinct labels in the order of their first segment, and the end of the last segment in seconds."""
    annotations = entry.get("annotations")
    is_list = isinstance(annotations, list) and all(isinstance(annotation, dict) for annotation in annotations)
    labels = [annotation.get("label") for annotation in annotations] if is_list else []  # type: ignore[union-attr]
    if not labels or not all(isinstance(label, str) and label for label in labels):
        raise BadInput("'annotations' must be a list of objects with a 'label'; correct or remove the entry")
    segments = [annotation["segment"] for annotation in annotations or () if "segment" in annotation]
    for segment in segments:
        is_pair = isinstance(segment, list) and len(segment) == 2 and all(map(_is_time, segment))
        if not is_pair or segment[0] > segment[1]:
            raise BadInput(f"segment {segment!r}; it must be [start, end] in seconds, start not after end")
    return tuple(dict.fromkeys(labels)), max((float(end) for _, end in segments), default=None)
