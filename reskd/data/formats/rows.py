"""The common result of all annotation formats: rows of both splits with label names. Also helpers for their readers."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from reskd.errors import BadInput, brief, reason_of
from reskd.files import json_value, on_disk, read_file, walk
from reskd.text import composed, invisible_letter, is_inside, visible

EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
"""Extensions of video files in a folder; upper or lower case."""
HEADER_AGAIN = "this line is a header, not a video; remove it"
MAX_NAMED = 3
"""How many names a message lists at most."""
MAX_NAME_LETTERS = 100
"""How many letters a message shows of each."""
MAX_LIST_BYTES = 128 << 20
"""Of an annotation file: three times the largest of these data sets, FCVID's table of labels."""
MAX_CLASSES = 100_000
"""Several times the most that any of these data sets has. A number of a class above it is a mistake: it would make a
classifier of so many outputs."""
MAX_LABEL_LETTERS = 1000

WHERE = "see data.root (or RESKD_DATA), data.train, data.val and data.classes"

Split = Literal["train", "val"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One video of a split, as in the annotation."""

    where: str
    """File and line, for error messages."""
    path: str
    """Posix, relative to the data root: a video file or a folder of frames."""
    labels: tuple[str, ...]
    end_s: float | None = None
    """End of the labelled part in the file, in seconds; None if the annotation does not say."""
    is_cut: bool = False
    """Whether the file should hold only the labelled part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """A data set as its annotation files describe it."""

    train: tuple[Row, ...]
    val: tuple[Row, ...]
    classes: tuple[str, ...] | None = None
    """All classes in order, if the format defines them. None: data.classes or the training labels define them."""
    remarks: tuple[str, ...] = ()
    """Harmless oddities, each with a count and the first names."""
    left_out: tuple[str, ...] = ()
    """What lies there and is not taken, which a user should hear of: a line for each split."""


def read_text(path: Path) -> str:
    """The text of an annotation file, in UTF-8, its accents composed. Raises BadInput if it cannot be read."""
    try:
        return composed(read_file(on_disk(path), max_bytes=MAX_LIST_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; {WHERE}") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: a folder; data.train, data.val and data.classes name files here") from None
    except OSError as error:
        raise BadInput(f"{visible(str(path))}: cannot be read ({reason_of(error)}); {WHERE}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def read_json(path: Path, *, what: str) -> Any:
    """The content of a JSON file, its accents composed.

    Raises BadInput for a repeated key, of which Python would keep only the last.
    """
    repeated: dict[str, str] = {}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = {composed(key): composed(value) if isinstance(value, str) else value for key, value in pairs}
        if len(made) < len(pairs):
            keys = [composed(key) for key, _ in pairs]
            repeated.update({key: key for key in made if keys.count(key) > 1})
        return made

    way_out = "correct the file, or get it again from its publisher"
    content = json_value(read_text(path), where=str(path), what=what, way_out=way_out, pairs=unique)
    if repeated:
        raise BadInput(f"{path}: {len(repeated)} keys are there more than once: {some(repeated)}; keep one entry each")
    return content


def read_classes(path: Path) -> tuple[str, ...]:
    """Read a file with one class name per line. Raises BadInput if it is empty or repeats a name."""
    names = Counter(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise BadInput(f"{path}: no class names; write one a line, in order")
    for name, number in names.items():
        if number > 1:
            raise BadInput(f"{path}: class {name!r} is listed {number} times; list each class once")
    return tuple(names)


def some(names: Collection[str]) -> str:
    """The first MAX_NAMED names, for a message of one line."""
    first = [brief(visible(name), most=MAX_NAME_LETTERS) for name in list(names)[:MAX_NAMED]]
    return ", ".join(first) + (", ..." if len(names) > MAX_NAMED else "")


def refuse(problems: Mapping[str, str]) -> None:
    """Raise BadInput if there are problems (entry -> message): the first message, then how many entries are wrong."""
    if problems:
        count = f" ({len(problems)} entries are wrong: {some(problems)})" if len(problems) > 1 else ""
        raise BadInput(next(iter(problems.values())) + count)


def normal_path(path: str, *, where: str) -> str:
    """A path of an annotation in normal form. Raises BadInput for one with backslashes."""
    if "\\" in path:
        raise BadInput(f"{where}: path {path!r}; write it relative to the data root, with forward slashes")
    # PurePosixPath takes ten times as long as this look for what is not normal.
    return PurePosixPath(path).as_posix() if {"", "."} & set(path.split("/")) else path


def is_header(cells: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a line is the header once more, as where two lists were joined."""
    return [cell.strip("\ufeff ") for cell in cells] == [*header]


def check_names(rows: Iterable[Row], *, allow_outside: bool) -> None:
    """Raise BadInput for a label that nobody can read, and for a path that is no video's.

    A hidden file is none: `._a.mp4` is what a Mac leaves beside a.mp4. Nor is a file outside of the data root, unless
    ``allow_outside``.
    """
    problems: dict[str, str] = {}
    checked: set[str] = set()
    for row in rows:
        for label in row.labels:
            if label not in checked:
                checked.add(label)
                fault = label_fault(label)
                if fault is not None:
                    problems[row.where] = f"{row.where}: label '{visible(label)}' {fault}"
        if not allow_outside and not is_inside(row.path):
            problems[row.where] = (
                f"{row.where}: path {row.path!r} leads out of the data root; write it relative to that folder, link "
                "the videos into it, or set data.allow_outside: true"
            )
        if not row.path.isprintable() and any(letter < " " or "\ud800" <= letter <= "\udfff" for letter in row.path):
            hidden = invisible_letter(row.path)
            problems[row.where] = f"{row.where}: the path '{visible(row.path)}' holds {hidden}; rename the file"
        if row.path.rpartition("/")[2].startswith("."):
            problems[row.where] = f"{row.where}: the path {row.path!r} is of a hidden file; list the video itself"
    refuse(problems)


def label_fault(label: str) -> str | None:
    """What is wrong with the name of a class, and the way out; None if nothing is."""
    hidden = invisible_letter(label)
    if hidden is not None:
        return f"holds {hidden}; write it without"
    if len(label) > MAX_LABEL_LETTERS:
        return f"has {len(label)} letters; the most are {MAX_LABEL_LETTERS}"
    return None


def locate(root: Path, names: Collection[str]) -> dict[str, list[str]]:
    """Find videos ``<name>.<extension>`` and folders of frames ``<name>/`` under the root: name -> relative paths.

    Names are compared with their accents composed. Hidden files and folders are left out; links are followed, and each
    folder is searched once. A folder of frames is not searched, so a data set with millions of frames is found quickly.
    """
    wanted = frozenset(names)
    found: dict[str, list[str]] = {}
    unreadable: list[OSError] = []
    for folder, folders, files in walk(root, on_error=unreadable.append):
        stems = [(name, *os.path.splitext(composed(name))) for name in files]
        hits = [(name, stem) for name, stem, suffix in stems if stem in wanted and suffix.lower() in EXTENSIONS]
        hits += [(name, composed(name)) for name in folders if composed(name) in wanted]
        folders[:] = [name for name in folders if composed(name) not in wanted]
        for name, stem in sorted(hits):
            found.setdefault(stem, []).append(composed((Path(folder) / name).relative_to(root).as_posix()))
    if unreadable and len(found) < len(wanted):
        first = unreadable[0]
        text = "%s: %d folders cannot be read (%s: %s); videos in them count as missing"
        logger.warning(text, root, len(unreadable), first.filename, reason_of(first))
    return found


def choose(found: Sequence[str], *, missing: str, where: str, problems: dict[str, str], key: str) -> str:
    """The path of a video, or ``missing`` if there is none. Two or more paths are added to ``problems``."""
    if len(found) > 1:
        problems[key] = f"{where}: lies here {len(found)} times: {', '.join(found)}; keep one"
    return found[0] if found else missing
