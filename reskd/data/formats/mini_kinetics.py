"""mini_kinetics: AR-Net's lists of 200 Kinetics classes: ``[folder/...]<name> <number of frames> <class number>``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import MAX_CLASSES, Row, Splits, choose, locate, read_classes, read_text, refuse
from reskd.errors import BadInput
from reskd.recipe import DataSpec


@dataclass(frozen=True, slots=True)
class _Line:
    where: str
    name: str
    """Name of the clip, without folders."""
    number: int
    """Number of the class."""


def read(spec: DataSpec, root: Path) -> Splits:
    """Read clips in the file's order. A clip is the file or folder of frames of that name, anywhere under the root.

    The folders in a listed name and the number of frames belong to AR-Net's own copy and are ignored. data.classes
    names the classes, one per line from number 0. Without it, a class is named by its number.
    """
    lists = {split: _read_lines(root / name) for split, name in (("train", spec.train), ("val", spec.val))}
    if spec.classes is not None:
        classes, known_by = read_classes(root / spec.classes), f"{root / spec.classes} has"
    else:
        last = max(lists["train"], key=lambda line: line.number)
        if last.number >= MAX_CLASSES:
            raise BadInput(f"{last.where}: class {last.number}; a class number is below {MAX_CLASSES}; correct it")
        classes = tuple(str(number) for number in range(last.number + 1))
        known_by = f"{root / spec.train} has"
    lying = locate(root, {line.name for lines in lists.values() for line in lines})
    train, val = (_rows(lists[split], classes, known_by=known_by, lying=lying) for split in ("train", "val"))
    return Splits(train=train, val=val, classes=classes)


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    classes = sorted({label for clip in clips for label in clip.labels})
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for clip in clips:
        name = f"-id {clip.name}_000010_000012"
        clip.save(root / clip.split / clip.labels[0] / f"{name}.mp4")
        listed = f"images/{clip.split}/{clip.labels[0]}/{name} {len(clip.frames)} {classes.index(clip.labels[0])}"
        lines[clip.split].append(listed)
    for split, text in lines.items():
        (root / f"mini_{split}_videofolder.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    (root / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    return Written("mini_train_videofolder.txt", "mini_val_videofolder.txt", "classes.txt")


def _read_lines(file: Path) -> list[_Line]:
    kept: dict[str, _Line] = {}
    problems: dict[str, str] = {}
    for place, text in enumerate(read_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{file}:{place}"
        cells = text.strip().rsplit(None, 2)  # a class folder's name may hold spaces
        if len(cells) < 3 or not all(re.fullmatch(r"[0-9]{1,18}", cell) for cell in cells[1:]):
            problems[where] = f"{where}: {text.strip()!r}; a line is `<name> <number of frames> <class number>`"
            continue
        line = _Line(where, PurePosixPath(cells[0]).name, int(cells[2]))
        first = kept.setdefault(line.name, line)
        if first is not line:
            problems[where] = (
                f"{where}: clip {line.name!r} was on line {first.where.rpartition(':')[2]} already; keep one"
            )
    refuse(problems)
    if not kept:
        raise BadInput(f"{file}: no clip; a line is `<name> <number of frames> <class number>`")
    return list(kept.values())


def _rows(
    lines: Sequence[_Line], classes: Sequence[str], *, known_by: str, lying: Mapping[str, Sequence[str]]
) -> tuple[Row, ...]:
    rows, problems = [], dict[str, str]()
    for line in lines:
        if line.number >= len(classes):
            last = len(classes) - 1
            problems[line.name] = f"{line.where}: class {line.number}, but {known_by} classes 0 to {last}; correct it"
            continue
        path = choose(
            lying.get(line.name, ()),
            missing=f"{line.name}.mp4",
            where=f"{line.where}: clip {line.name!r}",
            problems=problems,
            key=line.name,
        )
        rows.append(Row(where=line.where, path=path, labels=(classes[line.number],)))
    refuse(problems)
    return tuple(rows)
