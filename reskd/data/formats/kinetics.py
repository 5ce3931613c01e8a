"""kinetics: the CSV of Kinetics-400/600 with one clip per line: ``label,youtube_id,time_start,time_end,split``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reskd.data.formats.drawn import CLIP_SECONDS, DrawnClip, Written
from reskd.data.formats.rows import (
    HEADER_AGAIN,
    Row,
    Split,
    Splits,
    choose,
    is_header,
    locate,
    read_text,
    refuse,
    some,
)
from reskd.errors import BadInput
from reskd.recipe import DataSpec

COLUMNS = ("label", "youtube_id", "time_start", "time_end")
"""Required columns, in any order. Other columns are ignored."""
SPLITS: dict[Split, frozenset[str]] = {"train": frozenset({"train"}), "val": frozenset({"val", "validate"})}
OTHER_SPLITS = frozenset({"test", "holdout"})


@dataclass(frozen=True, slots=True)
class _Line:
    where: str
    label: str
    youtube_id: str
    start_s: int
    end_s: int

    @property
    def name(self) -> str:
        return f"{self.youtube_id}_{self.start_s:06d}_{self.end_s:06d}"


def read(spec: DataSpec, root: Path) -> Splits:
    """Read clips in the file's order. A clip is ``<youtube_id>_<start>_<end>.*`` anywhere under the root.

    Both times have six digits. If a file has a column ``split``, lines of other splits are skipped, so one file may
    hold both splits. A whole video ``<youtube_id>.*`` does not count as its clip: the clip is missing, and a remark
    counts such videos.
    """
    remarks: list[str] = []
    lines: dict[Split, list[_Line]] = {
        "train": _read_lines(root / spec.train, split="train", remarks=remarks),
        "val": _read_lines(root / spec.val, split="val", remarks=remarks),
    }
    each = [line for of_split in lines.values() for line in of_split]
    lying = locate(root, {name for line in each for name in (line.name, line.youtube_id)})
    whole = [lying[line.youtube_id][0] for line in each if line.youtube_id in lying and line.name not in lying]
    if whole:
        remarks.append(
            f"{root}: {len(whole)} clips are not here, but a file with their id and no times in its name is: "
            f"{some(whole)}; cut the clip out and name it <youtube_id>_<start>_<end>.mp4, times of six digits"
        )
    return Splits(
        train=_rows(lines["train"], lying=lying), val=_rows(lines["val"], lying=lying), remarks=tuple(remarks)
    )


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    lines = {"train": [",".join([*COLUMNS, "split"])], "val": [",".join([*COLUMNS, "split"])]}
    for clip in clips:
        start, end = 10 * clip.number, 10 * clip.number + int(CLIP_SECONDS)
        clip.save(root / clip.split / clip.labels[0] / f"-id_{clip.name}_{start:06d}_{end:06d}.mp4")
        split = "train" if clip.split == "train" else "validate"
        lines[clip.split].append(f"{clip.labels[0]},-id_{clip.name},{start},{end},{split}")
    for name, text in lines.items():
        (root / f"{name}.csv").write_text("\n".join(text) + "\n", encoding="utf-8")
    return Written("train.csv", "val.csv")


def _read_lines(file: Path, *, split: Split, remarks: list[str]) -> list[_Line]:
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True, skipinitialspace=True)
    kept: dict[str, _Line] = {}
    repeated: dict[str, str] = {}
    problems: dict[str, str] = {}
    try:
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            raise BadInput(
                f"{file}:1: the header is {','.join(reader.fieldnames or ())!r} and lacks {', '.join(lacking)}; "
                f"Kinetics has {','.join(COLUMNS)},split"
            )
        for cells in reader:
            where = f"{file}:{reader.line_num}"
            try:
                line = _parse(cells, where=where, split=split)
            except BadInput as error:
                problems[where] = f"{where}: {error}"
                continue
            if line is None:
                continue
            first = kept.setdefault(line.name, line)
            if first is not line:
                repeated[line.name] = line.name
                if first.label != line.label:
                    problems[where] = (
                        f"{where}: clip {line.name} has label {line.label!r}, on line "
                        f"{first.where.rpartition(':')[2]} it was {first.label!r}; keep one"
                    )
    except csv.Error as error:
        raise BadInput(f"{file}:{reader.line_num}: {error}; mend the quotes of this line") from error
    refuse(problems)
    if not kept:
        raise BadInput(f"{file}: no clip whose split is {' or '.join(sorted(SPLITS[split]))}")
    if repeated:
        remarks.append(f"{file}: {len(repeated)} clips are listed more than once and taken once: {some(repeated)}")
    return list(kept.values())


def _parse(cells: Mapping[str | None, str | list[str] | None], *, where: str, split: Split) -> _Line | None:
    """One line of the CSV; None for a line of another split."""
    if None in cells or any(cells[column] is None for column in COLUMNS):
        raise BadInput("another number of cells than the header has; quote a name that holds a comma")
    texts = {str(key): str(value or "").strip() for key, value in cells.items()}
    if is_header([*texts.values()], [*texts]):
        raise BadInput(HEADER_AGAIN)
    of_split = texts.get("split", "")
    if of_split and of_split not in SPLITS[split]:
        if of_split in OTHER_SPLITS or any(of_split in names for names in SPLITS.values()):
            return None
        raise BadInput(f"split {of_split!r}; it must be train, val, validate or test")
    if not texts["label"] or not texts["youtube_id"] or "/" in texts["youtube_id"]:
        raise BadInput(f"label {texts['label']!r}, youtube_id {texts['youtube_id']!r}; a clip has both")
    try:
        start, end = float(texts["time_start"]), float(texts["time_end"])
        is_span = 0 <= start < end and start.is_integer() and end.is_integer()
    except ValueError:
        is_span = False
    if not is_span:
        raise BadInput(
            f"time_start {texts['time_start']!r}, time_end {texts['time_end']!r}; they are whole seconds, "
            "the start before the end"
        )
    return _Line(where, texts["label"], texts["youtube_id"], int(start), int(end))


def _rows(lines: Sequence[_Line], *, lying: Mapping[str, Sequence[str]]) -> tuple[Row, ...]:
    problems: dict[str, str] = {}
    rows = tuple(
        Row(
            where=line.where,
            path=choose(
                lying.get(line.name, ()),
                missing=f"{line.name}.mp4",
                where=f"{line.where}: clip {line.name!r}",
                problems=problems,
                key=line.name,
            ),
            labels=(line.label,),
            end_s=float(line.end_s - line.start_s),
            is_cut=True,
        )
        for line in lines
    )
    refuse(problems)
    return rows
