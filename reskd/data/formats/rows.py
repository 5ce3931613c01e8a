"""The common result of all annotation formats: rows of both splits with label names. Also helpers for their readers."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from reskd.errors import BadInput

EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
"""Extensions of video files in a folder; upper or lower case."""
MAX_NAMED = 3
"""How many names a message lists at most."""

Split = Literal["train", "val"]


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


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(
            f"{path}: no such file; see data.root (or RESKD_DATA), data.train, data.val and data.classes"
        ) from None
    except IsADirectoryError:
        raise BadInput(f"{path}: a folder; data.train, data.val and data.classes name files here") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def read_json(path: Path, *, what: str) -> Any:
    """The content of a JSON file. Raises BadInput for a repeated key, of which Python would keep only the last."""
    repeated: dict[str, str] = {}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.update({key: key for key in made if keys.count(key) > 1})
        return made

    try:
        content = json.loads(read_text(path), object_pairs_hook=unique)
    except ValueError as error:
        raise BadInput(f"{path}: not {what} ({error!r})") from error
    if repeated:
        raise BadInput(f"{path}: {len(repeated)} keys are there more than once: {some(repeated)}; keep one entry each")
    return content


def read_classes(path: Path) -> tuple[str, ...]:
    """Read a file with one class name per line. Raises BadInput if it is empty or repeats a name."""
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise BadInput(f"{path}: no class names; write one a line, in order")
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{path}: class {name!r} is listed {names.count(name)} times; list each class once")
    return tuple(names)


def some(names: Collection[str]) -> str:
    """The first MAX_NAMED names, for a message."""
    return ", ".join(list(names)[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")


def refuse(problems: Mapping[str, str]) -> None:
    """Raise BadInput if there are problems (entry -> message): the first message, then how many entries are wrong."""
    if problems:
        count = f" ({len(problems)} entries are wrong: {some(problems)})" if len(problems) > 1 else ""
        raise BadInput(next(iter(problems.values())) + count)


def check_inside(path: str, *, where: str) -> str:
    """A path of an annotation in normal form. Raises BadInput if it leads out of the data root."""
    parts = path.split("/")
    if "\\" not in path and not {"", ".", ".."} & set(parts):
        return path  # the usual case; PurePosixPath takes ten times as long
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise BadInput(f"{where}: path {path!r}; write it relative to the data root, inside it, with forward slashes")
    return pure.as_posix()


def locate(root: Path, names: Collection[str]) -> dict[str, list[str]]:
    """Find videos ``<name>.<extension>`` and folders of frames ``<name>/`` under the root: name -> relative paths.

    A folder of frames is not searched, so a data set with millions of frames is found quickly.
    """
    wanted = frozenset(names)
    found: dict[str, list[str]] = {}
    for folder, folders, files in os.walk(root, followlinks=True):
        stems = [(name, *os.path.splitext(name)) for name in files]
        hits = [(name, stem) for name, stem, suffix in stems if stem in wanted and suffix.lower() in EXTENSIONS]
        hits += [(name, name) for name in folders if name in wanted]
        folders[:] = sorted(name for name in folders if name not in wanted)
        for name, stem in sorted(hits):
            found.setdefault(stem, []).append((Path(folder) / name).relative_to(root).as_posix())
    return found


def choose(found: Sequence[str], *, missing: str, where: str, problems: dict[str, str], key: str) -> str:
    """The path of a video, or ``missing`` if there is none. Two or more paths are added to ``problems``."""
    if len(found) > 1:
        problems[key] = f"{where}: lies here {len(found)} times: {', '.join(found)}; keep one"
    return found[0] if found else missing
