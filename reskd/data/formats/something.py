"""ssv2, ssv1: Something-Something. V2 has JSON files and .webm videos. V1 has CSV lines ``id;label`` and frames."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import HEADER_AGAIN, Row, Splits, choose, is_header, locate, read_json, read_text, refuse
from reskd.errors import BadInput
from reskd.recipe import DataSpec

Entries = dict[str, tuple[str, str]]
"""Video id -> (file and line, label)."""


def read_v2(spec: DataSpec, root: Path) -> Splits:
    """Read videos in the file's order. A video is ``<id>.webm``, or has another extension, anywhere under the root.

    The label is the template without its brackets. data.classes names labels.json, which numbers the labels.
    """
    classes = None if spec.classes is None else _read_numbers(root / spec.classes)
    train, val = (_read_v2(root / name) for name in (spec.train, spec.val))
    return _splits(train, val, root, suffix=".webm", classes=classes)


def read_v1(spec: DataSpec, root: Path) -> Splits:
    """Read clips in the file's order. A clip is the folder of frames ``<id>/`` or a video of that name."""
    train, val = (_read_v1(root / name) for name in (spec.train, spec.val))
    return _splits(train, val, root, suffix="", classes=None)


def write_v2(root: Path, clips: Sequence[DrawnClip]) -> Written:
    classes = sorted({label for clip in clips for label in clip.labels})
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train"), ("val", "validation")):
        entries = []
        for clip in clips:
            if clip.split == split:
                clip.save(root / "videos" / f"{clip.number}.webm")
                entries.append(
                    {
                        "id": str(clip.number),
                        "label": f"turning a box to {clip.labels[0]}",
                        "template": f"Turning [something] to {clip.labels[0]}",
                        "placeholders": ["a box"],
                    }
                )
        (root / f"labels/{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    numbers = {f"Turning something to {label}": str(number) for number, label in enumerate(classes)}
    (root / "labels/labels.json").write_text(json.dumps(numbers), encoding="utf-8")
    return Written("labels/train.json", "labels/validation.json", "labels/labels.json")


def write_v1(root: Path, clips: Sequence[DrawnClip]) -> Written:
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for clip in clips:
        clip.save(root / "frames" / str(clip.number))
        lines[clip.split].append(f"{clip.number};Turning something to {clip.labels[0]}")
    for split, text in lines.items():
        (root / f"{split}.csv").write_text("\n".join(text) + "\n", encoding="utf-8")
    labels = sorted({line.partition(";")[2] for text in lines.values() for line in text})
    (root / "labels.csv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    return Written("train.csv", "val.csv", "labels.csv")


def _read_numbers(file: Path) -> tuple[str, ...]:
    """The names in labels.json, ordered by their numbers. Raises BadInput unless the numbers are 0, 1, 2, ..."""
    content = read_json(file, what="an object of labels and their numbers")
    try:
        numbers = {name: int(str(number)) for name, number in content.items()}  # 0.9 is no number of a class
    except (AttributeError, ValueError):
        raise BadInput(f'{file}: it must be an object like {{"Throwing something": "0", ...}}') from None
    names = sorted(numbers, key=lambda name: numbers[name])
    if not names or [numbers[name] for name in names] != list(range(len(names))):
        raise BadInput(f"{file}: the numbers of its {len(names)} labels must be 0, 1, 2 and so on, each once")
    return tuple(names)


def _read_v2(file: Path) -> Entries:
    content = read_json(file, what="a list of videos")
    if not isinstance(content, list):
        raise BadInput(f"{file}: a {type(content).__name__}; it must be a list of objects with 'id' and 'template'")
    found: Entries = {}
    problems: dict[str, str] = {}
    for place, entry in enumerate(content):
        video_id = entry.get("id") if isinstance(entry, dict) else None
        template = entry.get("template") if isinstance(entry, dict) else None
        where = f"{file}: entry {place} (id {video_id!r})"
        label = template.replace("[", "").replace("]", "").strip() if isinstance(template, str) else ""
        if not isinstance(video_id, str) or not _is_name(video_id) or not label:
            problems[where] = f"{where}: 'id' and 'template' must be texts; correct or remove the entry"
        elif video_id in found:
            problems[where] = f"{where}: that id is in {found[video_id][0].rpartition(': ')[2]} too; keep one"
        else:
            found[video_id] = (where, label)
    refuse(problems)
    return found


def _read_v1(file: Path) -> Entries:
    found: Entries = {}
    problems: dict[str, str] = {}
    for place, line in enumerate(read_text(file).splitlines(), start=1):
        where = f"{file}:{place}"
        video_id, separator, label = (part.strip() for part in line.partition(";"))
        if not line.strip():
            continue
        if is_header([video_id, label], ["id", "label"]):
            problems[where] = f"{where}: {line!r}: {HEADER_AGAIN}"
        elif not separator or not _is_name(video_id) or not label:
            problems[where] = f"{where}: {line!r}; a line is `id;label`"
        elif video_id in found:
            problems[where] = f"{where}: id {video_id!r} was on line {found[video_id][0].rpartition(':')[2]} already"
        else:
            found[video_id] = (where, label)
    refuse(problems)
    return found


def _is_name(text: str) -> bool:
    """Whether the text can be the name of a file or folder that `locate` finds."""
    return bool(text) and "/" not in text and "\\" not in text and not text.startswith(".")


def _splits(train: Entries, val: Entries, root: Path, *, suffix: str, classes: tuple[str, ...] | None) -> Splits:
    lying = locate(root, {*train, *val})
    return Splits(
        train=_rows(train, lying=lying, suffix=suffix), val=_rows(val, lying=lying, suffix=suffix), classes=classes
    )


def _rows(entries: Entries, *, lying: Mapping[str, Sequence[str]], suffix: str) -> tuple[Row, ...]:
    problems: dict[str, str] = {}
    rows = tuple(
        Row(
            where=where,
            path=choose(
                lying.get(video_id, ()), missing=f"{video_id}{suffix}", where=where, problems=problems, key=video_id
            ),
            labels=(label,),
        )
        for video_id, (where, label) in entries.items()
    )
    refuse(problems)
    return rows
