"""Annotations to records whose labels are numbers: CSV rows ``path,label[,label...]``, or one of `layouts`."""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from reskd.data.layouts import Row, read_activitynet, read_folders
from reskd.errors import BadInput
from reskd.recipe import DataSpec

DATA_VARIABLE = "RESKD_DATA"


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video of a split."""

    path: str
    """Posix, relative to the data root."""
    labels: tuple[int, ...]
    """Indices into the classes: at least one, each once, ascending."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """Both splits and the label map that they share; records in the order of their files."""

    classes: tuple[str, ...]
    train: tuple[VideoRecord, ...]
    val: tuple[VideoRecord, ...]


def data_root(spec: DataSpec) -> Path:
    """The absolute folder that annotation paths are relative to: ``spec.root``, else ``$RESKD_DATA/<name>``."""
    if spec.root is not None:
        return Path(spec.root).expanduser().absolute()
    shelf = os.environ.get(DATA_VARIABLE)
    if not shelf:
        raise BadInput(
            f"data.root is not set, nor is the environment variable {DATA_VARIABLE}; set data.root to the folder of "
            f"data set {spec.name!r}, or {DATA_VARIABLE} to the folder that {spec.name!r} lies in"
        )
    return Path(shelf).expanduser().absolute() / spec.name


def load_annotations(spec: DataSpec) -> Annotations:
    """Both splits of a data set, checked; BadInput names file, line and value.

    Classes come from ``spec.classes``, one name a line; without it they are the labels of the training split, sorted
    as numbers if all of them are integers, as text otherwise.
    """
    root = data_root(spec)
    train_rows = _rows_of(spec, root, "train")
    val_rows = _rows_of(spec, root, "val")
    if spec.classes is not None:
        classes = _read_classes(root / spec.classes)
        known_by = f"in {root / spec.classes}"
    else:
        classes = _sorted_labels(label for row in train_rows for label in row.labels)
        known_by = "a label of the training split"
    numbers = {name: number for number, name in enumerate(classes)}
    return Annotations(
        classes=classes,
        train=_number(train_rows, numbers, known_by=known_by),
        val=_number(val_rows, numbers, known_by=known_by),
    )


def _rows_of(spec: DataSpec, root: Path, split: Literal["train", "val"]) -> tuple[Row, ...]:
    name = spec.train if split == "train" else spec.val
    if spec.annotations == "folders":
        return read_folders(root, name)
    if spec.annotations == "activitynet":
        return read_activitynet(root, root / name, split)
    return _read_rows(root / name)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(
            f"{path}: no such file; see data.root (or {DATA_VARIABLE}), data.train, data.val and data.classes"
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _read_rows(path: Path) -> tuple[Row, ...]:
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True, skipinitialspace=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header, path)
        rows = tuple(
            _parse_row([cell.strip() for cell in cells], num_columns=len(header), file=path, line=reader.line_num)
            for cells in reader
            if any(cell.strip() for cell in cells)
        )
    except csv.Error as error:
        raise BadInput(f"{path}:{reader.line_num}: {error}; mend the quotes of this line") from error
    if not rows:
        raise BadInput(f"{path}: the split is empty; add a line `path,label` for each video")
    _refuse_repeats(rows)
    return rows


def _check_header(header: list[str], path: Path) -> None:
    if len(header) < 2 or header[0] != "path" or not all(re.fullmatch(r"label\d*", cell) for cell in header[1:]):
        raise BadInput(
            f"{path}:1: the header is {','.join(header)!r}; it must be `path,label`, "
            "with one more `label` column for each further label a video may have"
        )


def _parse_row(cells: list[str], *, num_columns: int, file: Path, line: int) -> Row:
    where = f"{file}:{line}"
    if len(cells) > num_columns:
        raise BadInput(
            f"{where}: {len(cells)} cells under {num_columns} columns: {','.join(cells)!r}; quote a name that holds a "
            "comma, or add a `label` column to the header"
        )
    path = PurePosixPath(cells[0])
    labels = tuple(cell for cell in cells[1:] if cell)
    if not cells[0] or not labels:
        raise BadInput(f"{where}: {','.join(cells)!r} has no {'label' if cells[0] else 'path'}; give each row both")
    if path.is_absolute() or ".." in path.parts or "\\" in cells[0]:
        raise BadInput(
            f"{where}: path {cells[0]!r}; write it relative to the data root, inside it, with forward slashes"
        )
    return Row(where=where, path=path.as_posix(), labels=labels)


def _refuse_repeats(rows: tuple[Row, ...]) -> None:
    first_line: dict[str, str] = {}
    for row in rows:
        if row.path in first_line:
            raise BadInput(
                f"{row.where}: path {row.path!r} was on line {first_line[row.path]} already; keep one line for a "
                "video and put its further labels in more columns"
            )
        first_line[row.path] = row.where.rpartition(":")[2]


def _read_classes(path: Path) -> tuple[str, ...]:
    names = [line.strip() for line in _read_text(path).splitlines() if line.strip()]
    if not names:
        raise BadInput(f"{path}: no class names; write one a line, in order")
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{path}: class {name!r} is listed {names.count(name)} times; list each class once")
    return tuple(names)


def _sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    names = set(labels)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _number(rows: tuple[Row, ...], numbers: Mapping[str, int], *, known_by: str) -> tuple[VideoRecord, ...]:
    """Rows with their labels as class numbers; ascending, so that the order of the columns means nothing."""
    for row in rows:
        for label in row.labels:
            if label not in numbers:
                nearest = difflib.get_close_matches(label, numbers, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else "correct it, or list it in a data.classes file"
                raise BadInput(f"{row.where}: label {label!r} is not {known_by}; {hint}")
    return tuple(
        VideoRecord(path=row.path, labels=tuple(sorted({numbers[label] for label in row.labels}))) for row in rows
    )
