"""csv: rows ``path,label[,label...]`` under a header. This is the project's own format."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import HEADER_AGAIN, Row, Splits, is_header, normal_path, read_text
from reskd.errors import BadInput
from reskd.recipe import DataSpec


def read(spec: DataSpec, root: Path) -> Splits:
    return Splits(train=_read_rows(root / spec.train), val=_read_rows(root / spec.val))


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    for split in ("train", "val"):
        lines = ["path,label,label"]
        for clip in clips:
            if clip.split == split:
                path = f"{split}/{clip.name}.mp4"
                clip.save(root / path)
                lines.append(",".join([path, *clip.labels]))
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Written("train.csv", "val.csv")


def _read_rows(path: Path) -> tuple[Row, ...]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, skipinitialspace=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header, path)
        rows = tuple(
            _parse_row([cell.strip() for cell in cells], header=header, where=f"{path}:{reader.line_num}")
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


def _parse_row(cells: list[str], *, header: list[str], where: str) -> Row:
    if is_header(cells, header):
        raise BadInput(f"{where}: {','.join(cells)!r}: {HEADER_AGAIN}")
    if len(cells) > len(header):
        raise BadInput(
            f"{where}: {len(cells)} cells under {len(header)} columns: {','.join(cells)!r}; quote a name that holds a "
            "comma, or add a `label` column to the header"
        )
    labels = tuple(cell for cell in cells[1:] if cell)
    if not cells[0] or not labels:
        raise BadInput(f"{where}: {','.join(cells)!r} has no {'label' if cells[0] else 'path'}; give each row both")
    return Row(where=where, path=normal_path(cells[0], where=where), labels=labels)


def _refuse_repeats(rows: tuple[Row, ...]) -> None:
    first_line: dict[str, str] = {}
    for row in rows:
        if row.path in first_line:
            raise BadInput(
                f"{row.where}: path {row.path!r} was on line {first_line[row.path]} already; keep one line for a "
                "video and put its further labels in more columns"
            )
        first_line[row.path] = row.where.rpartition(":")[2]
