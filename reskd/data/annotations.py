"""Reads annotations of any format into records with class numbers as labels."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reskd.data.formats.catalogue import FORMATS
from reskd.data.formats.rows import MAX_CLASSES, Row, check_names, label_fault, read_classes, some
from reskd.errors import BadInput
from reskd.files import on_disk
from reskd.recipe import DataSpec
from reskd.text import visible

DATA_VARIABLE = "RESKD_DATA"


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video of a split."""

    path: str
    """Posix, relative to the data root."""
    labels: tuple[int, ...]
    """Indices into the classes: at least one, each once, ascending."""
    end_s: float | None = field(default=None, compare=False)
    """End of the labelled part in the file, in seconds; None if the annotation does not say. Used by checks only."""
    is_cut: bool = field(default=False, compare=False)
    """Whether the file should hold only the labelled part."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """Both splits and their class names. Records keep the annotation files' order and include missing videos."""

    classes: tuple[str, ...]
    train: tuple[VideoRecord, ...]
    val: tuple[VideoRecord, ...]
    remarks: tuple[str, ...] = field(default=(), compare=False)
    """Harmless oddities, each with a count and the first names."""
    left_out: tuple[str, ...] = field(default=(), compare=False)
    """Those of the remarks that are about files which are not taken, so that a plan says them too."""


def data_root(spec: DataSpec) -> Path:
    """The absolute folder to which annotation paths are relative: ``spec.root``, else ``$RESKD_DATA/<name>``.

    Raises BadInput if neither is set.
    """
    if spec.root is not None:
        return on_disk(Path(os.path.expanduser(spec.root)).absolute())
    shelf = os.environ.get(DATA_VARIABLE)
    if not shelf:
        raise BadInput(
            f"data.root is not set, nor is the environment variable {DATA_VARIABLE}; set data.root to the folder of "
            f"data set {spec.name!r}, or {DATA_VARIABLE} to the folder that {spec.name!r} lies in"
        )
    return on_disk(Path(os.path.expanduser(shelf)).absolute() / spec.name)


def load_annotations(spec: DataSpec) -> Annotations:
    """Read and check both splits of a data set. Raises BadInput with file, line and value.

    Some formats number their classes themselves. Otherwise the file ``spec.classes`` lists them, one name per line.
    Without that file, the classes are the labels of the training split, sorted as numbers if all are integers and as
    text otherwise. Class numbers do not depend on which videos are missing.
    """
    root = data_root(spec)
    spec.refuse_outside()
    splits = FORMATS[spec.annotations].read(spec, root)
    for split, rows in (("train", splits.train), ("val", splits.val)):
        if not rows:
            raise BadInput(f"{root / getattr(spec, split)}: no video; see data.{split}")
        check_names(rows, allow_outside=spec.allow_outside)
    if splits.classes is not None:
        classes = splits.classes
    elif spec.classes is not None:
        classes = read_classes(root / spec.classes)
    else:
        classes = _sorted_labels(label for row in splits.train for label in row.labels)
    where = root / (spec.classes or spec.train)
    for name in classes:
        fault = label_fault(name)
        if fault is not None:
            raise BadInput(f"{where}: class '{visible(name)}' {fault}")
    if len(classes) > MAX_CLASSES:
        raise BadInput(f"{where}: {len(classes)} classes; the most are {MAX_CLASSES}; are these the labels?")
    known_by = f"in {root / spec.classes}" if spec.classes is not None else "a label of the training split"
    numbers = {name: number for number, name in enumerate(classes)}
    return Annotations(
        classes=classes,
        train=_number(splits.train, numbers, known_by=known_by),
        val=_number(splits.val, numbers, known_by=known_by),
        remarks=(*splits.remarks, *splits.left_out, *_in_both(splits.train, splits.val)),
        left_out=splits.left_out,
    )


def _in_both(train: Iterable[Row], val: Iterable[Row]) -> Iterable[str]:
    paths = {row.path for row in train}
    both = [row.path for row in val if row.path in paths]
    if both:
        yield f"{len(both)} videos are in training and validation: {some(both)}; the validation is easier for it"


def _sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    names = set(labels)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _number(rows: Iterable[Row], numbers: Mapping[str, int], *, known_by: str) -> tuple[VideoRecord, ...]:
    """Replace label names by class numbers, in ascending order: the order of label columns has no meaning."""
    rows = tuple(rows)
    strangers = [(row, label) for row in rows for label in row.labels if label not in numbers]
    if strangers:
        row, label = strangers[0]
        nearest = difflib.get_close_matches(label, numbers, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else "correct it, or list it in a data.classes file"
        unknown = dict.fromkeys(repr(name) for _, name in strangers)
        count = f" ({len(strangers)} labels are unknown, of {len(unknown)} names: {some(unknown)})"
        more = count if len(strangers) > 1 else ""
        raise BadInput(f"{row.where}: label {label!r} is not {known_by}; {hint}{more}")
    return tuple(
        VideoRecord(
            path=row.path,
            labels=tuple(sorted({numbers[label] for label in row.labels})),
            end_s=row.end_s,
            is_cut=row.is_cut,
        )
        for row in rows
    )
