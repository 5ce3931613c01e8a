"""fcvid: FCVID's split file with lines ``<video> train|test``, and a label file with a row of 0/1 for each line.

This form is taken from public readers of the release's ``materials`` folder. The release itself was not available.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import Row, Splits, choose, locate, normal_path, read_classes, read_text, refuse
from reskd.errors import BadInput
from reskd.recipe import DataSpec

SPLIT_FILE = "FCVID_VideoName_TrainTestSplit.txt"
LABEL_FILE = "FCVID_Label.txt"
ZERO, ONE = ("0", "0.0"), ("1", "1.0")
"""Compared as text for speed: the file has 22 million of them."""
SPLITS = {"train": "train", "test": "val"}
"""Word in the file -> split. The literature evaluates on the test half."""


def read(spec: DataSpec, root: Path) -> Splits:
    """Read videos in the file's order. data.train and data.val name the same split file; LABEL_FILE is beside it.

    A video is any file under the root whose path ends in the listed path; the extension does not matter. data.classes
    names the classes, one per line in the order of the columns. Without it, a class is named by its column number.
    """
    if spec.train != spec.val:
        raise BadInput(
            f"data.train {spec.train!r}, data.val {spec.val!r}: with data.annotations fcvid both name the one file "
            f"that says of every video whether it is train or test ({SPLIT_FILE})"
        )
    file = root / spec.train
    listed = _read_split_file(file)
    labels, num_classes = _read_labels(file.parent / LABEL_FILE, num_videos=len(listed))
    classes = tuple(str(number) for number in range(num_classes))
    if spec.classes is not None:
        classes = read_classes(root / spec.classes)
        if len(classes) != num_classes:
            raise BadInput(
                f"{root / spec.classes}: {len(classes)} classes, but {file.parent / LABEL_FILE} has {num_classes} "
                "columns; name each column once, in order"
            )
    lying = locate(root, {PurePosixPath(path).stem for path, _ in listed})
    rows: dict[str, list[Row]] = {"train": [], "val": []}
    problems: dict[str, str] = {}
    for place, ((path, split), numbers) in enumerate(zip(listed, labels, strict=True), start=1):
        where = f"{file}:{place}"
        ending = _bare(path)
        found = [candidate for candidate in lying.get(ending[-1], ()) if _bare(candidate)[-len(ending) :] == ending]
        here = choose(found, missing=path, where=f"{where}: video {path!r}", problems=problems, key=path)
        rows[split].append(Row(where=where, path=here, labels=tuple(classes[number] for number in numbers)))
    refuse(problems)
    for split, found_rows in rows.items():
        if not found_rows:
            raise BadInput(f"{file}: no {'train' if split == 'train' else 'test'} video")
    return Splits(train=tuple(rows["train"]), val=tuple(rows["val"]), classes=classes)


def write(root: Path, clips: Sequence[DrawnClip]) -> Written:
    classes = sorted({label for clip in clips for label in clip.labels})
    materials = root / "materials"
    materials.mkdir(parents=True, exist_ok=True)
    splits, labels = [], []
    for clip in clips:
        path = f"{clip.labels[0]}/{clip.name}.mp4"
        clip.save(root / "videos" / path)
        splits.append(f"{path}\t{'train' if clip.split == 'train' else 'test'}")
        labels.append("\t".join(str(int(name in clip.labels)) for name in classes))
    (materials / SPLIT_FILE).write_text("\n".join(splits) + "\n", encoding="utf-8")
    (materials / LABEL_FILE).write_text("\n".join(labels) + "\n", encoding="utf-8")
    (materials / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    return Written(f"materials/{SPLIT_FILE}", f"materials/{SPLIT_FILE}", "materials/classes.txt")


def _bare(path: str) -> tuple[str, ...]:
    """The parts of a path, without the extension."""
    return PurePosixPath(path).with_suffix("").parts


def _read_split_file(file: Path) -> list[tuple[str, str]]:
    """Path and split of each video, in the file's order."""
    listed: dict[str, str] = {}
    problems: dict[str, str] = {}
    for place, line in enumerate(read_text(file).rstrip().splitlines(), start=1):
        where = f"{file}:{place}"
        cells = line.strip().rsplit(None, 1)
        if len(cells) < 2 or cells[1] not in SPLITS:
            problems[where] = f"{where}: {line!r}; a line is `<video> train` or `<video> test`"
            continue
        path = normal_path(cells[0], where=where)
        if path in listed:
            problems[where] = f"{where}: video {path!r} is listed a second time; keep one line and its row of labels"
        listed[path] = SPLITS[cells[1]]
    refuse(problems)
    return list(listed.items())


def _read_labels(file: Path, *, num_videos: int) -> tuple[list[tuple[int, ...]], int]:
    """For each video, the numbers of the columns that are 1; and the number of columns."""
    lines = [line.split() for line in read_text(file).rstrip().splitlines()]
    if len(lines) != num_videos:
        raise BadInput(f"{file}: {len(lines)} rows of labels for {num_videos} videos; one row belongs to each line")
    labels, problems = [], dict[str, str]()
    for place, cells in enumerate(lines, start=1):
        where = f"{file}:{place}"
        set_columns = tuple(number for number, cell in enumerate(cells) if cell in ONE)
        if len(cells) != len(lines[0]) or not set(cells) <= {*ZERO, *ONE}:
            problems[where] = f"{where}: a row is {len(lines[0])} numbers, each 0 or 1, as the first row's; correct it"
        elif not set_columns:
            problems[where] = f"{where}: no label is set; correct it, or remove it and the video's line"
        labels.append(set_columns)
    refuse(problems)
    return labels, len(lines[0]) if lines else 0
