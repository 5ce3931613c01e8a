"""What `reskd submit` uploads: of a package only the kinds of files that it consists of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from reskd.text import visible

KINDS = (".py", ".yaml", ".yml", ".j2", ".css", ".csv", ".txt")
"""Code, sweeps and recipes, templates, style sheets, lists of classes. Not JSON, in which keys of clouds are kept."""
MADE_BY_PYTHON = ("__pycache__",)
MAX_NAMED = 5


def copy_package(package: Path, target: Path) -> list[str]:
    """Copy a package's own files below the folder ``target``. Returns the paths left out, from the package's parent.

    Left out are files of other kinds, hidden ones, and links that lead out of the folder in which the package lies.
    """
    left_out = []
    for path in _files(package):
        inside = path.relative_to(package)
        if _is_ours(path, package):
            copy = target / package.name / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        else:
            left_out.append(str(Path(package.name, inside)))
    return left_out


def left_out_line(paths: Sequence[str]) -> str:
    """What was left out, in one line."""
    more = ", ..." if len(paths) > MAX_NAMED else ""
    named = ", ".join(visible(path) for path in paths[:MAX_NAMED])
    return f"not uploaded: {len(paths)} files that are neither code nor lists ({named}{more})"


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if path.name not in MADE_BY_PYTHON:
                yield from _files(path)
        else:
            yield path


def _is_ours(path: Path, package: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(package).parts)
    is_inside = path.resolve().is_relative_to(package.resolve().parent)  # one of ours is a link to a sweep file
    return path.suffix in KINDS and not is_hidden and is_inside and path.is_file()
