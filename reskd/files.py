"""Files of any origin: atomic writes, JSON, names in any Unicode form, folders with links. Needs no torch."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import stat
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from reskd.digest import MEMBER, PUT_BACK, has_digest, with_digest
from reskd.errors import BadInput, Damaged, reason_of
from reskd.shapes import misfit
from reskd.text import composed

Json = dict[str, Any]

logger = logging.getLogger(__name__)

NO_FILE = "a pipe or a device, not a file"
UNSIZED_BYTES = 1 << 20
"""What is read at most of a file that states no size, as those in /proc."""

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors that say that there is no such file: also a link that leads back to itself, and a name that no file can
have."""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file beside the target, then rename it. After an error, such as a full disk, no extra file remains.

    After a crash, a reader sees the old content or the new one, never a part. A pipe or a device, such as /dev/stdout,
    is written as it is.
    """
    data = content.encode() if isinstance(content, str) else content
    # Not by process id: two containers that share the folder may both have the same.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if _is_special(path):
            path.write_bytes(data)
            return
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _unlink(temporary)
        raise OSError(error.errno, reason_of(error), str(path)) from error  # a full disk names no file
    except BaseException:
        _unlink(temporary)
        raise


def write_cache(path: Path, content: bytes | str) -> None:
    """Write what can be computed again. If it cannot be written, such as on a full disk, only warn."""
    try:
        write_atomic(path, content)
    except OSError as error:
        logger.warning("%s: cannot be written (%s); the next command computes it again", path, reason_of(error))


def write_json(path: Path, value: object) -> None:
    write_atomic(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """The value as JSON text in the form that all our files use."""
    return json.dumps(value, indent=1, sort_keys=True).encode()


def open_file(path: Path) -> BufferedReader:
    """Open a file to read bytes. Links are followed.

    Raises OSError for a pipe, a socket or a device, which may never answer or never end.
    """
    if _is_special(path):
        raise OSError(errno.EINVAL, NO_FILE, str(path))
    try:
        # Without O_NONBLOCK, some files of /proc wait for an event, and so would a pipe that is put there only now.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    is_folder = stat.S_ISDIR(mode)
    raise OSError(*(errno.EISDIR, os.strerror(errno.EISDIR)) if is_folder else (errno.EINVAL, NO_FILE), str(path))


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """The content of a file that a user named.

    Raises OSError for what is no file (see `open_file`), for more than ``max_bytes``, before they are read, and for a
    file that has no end or no content yet, such as some in /proc.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        expected = size or min(max_bytes, UNSIZED_BYTES)
        content = file.read(expected + 1) if size <= max_bytes else b""
    if content is None:
        raise OSError(errno.EAGAIN, "it does not answer", str(path))
    if size > max_bytes or len(content) > expected:
        known = f"{size:,} bytes" if size > max_bytes else "it grows while it is read"
        raise OSError(errno.EFBIG, f"{known}; the limit is {max_bytes:,} bytes", str(path))
    return content


def record_bytes(record: Json) -> bytes:
    """A record of a step as the content of its file: JSON text with its digest; see `reskd.digest`."""
    return with_digest(json_bytes(record)) if record else json_bytes(record)


def read_json(path: Path, *, shape: Any = Json) -> Json | None:
    """The JSON object in a file of ours; None if there is no file. Raises Damaged as `parse_json` does."""
    try:
        with open(path, "rb") as file:  # of thousands, Path.read_text takes half as long again
            content = file.read()
    except FileNotFoundError:
        return None
    return parse_json(content, where=str(path), shape=shape)


def parse_json(content: bytes, *, where: str, shape: Any = Json, way_out: str = PUT_BACK) -> Json:
    """The object in a JSON text of ours, without its digest.

    shape: what the reader needs of it, as in `reskd.shapes`. ``where`` names the source in messages. Raises Damaged if
    the text is no JSON, does not fit its digest, or has another shape.
    """
    is_whole = has_digest(content, where=where, way_out=way_out)
    try:
        value = _value(content, shape=shape)
    except ValueError as error:
        raise Damaged(where, reason_of(error), way_out) from error
    if value.pop(MEMBER, None) is not None and not is_whole:
        raise Damaged(where, "its digest is incomplete", way_out)
    return dict(value)


def json_value(
    content: bytes | str,
    *,
    where: str,
    what: str = "valid JSON",
    way_out: str = "remove the file or restore it",
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    shape: Any = Any,
) -> Any:
    """The value of a JSON text. Raises BadInput if it is none, is nested too deeply to be read, or has another shape.

    ``pairs`` makes an object of its keys and values, as in `json.loads`. shape: what the reader needs of the value, as
    in `reskd.shapes`.
    """
    try:
        return _value(content, shape=shape, pairs=pairs)
    except ValueError as error:
        raise BadInput(f"{where}: not {what} ({reason_of(error)}); {way_out}") from error


def _value(content: bytes | str, *, shape: Any, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text. Raises ValueError with nothing but the reason if there is none of this shape."""
    try:
        value = json.loads(content, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    wrong = misfit(value, shape)
    if wrong:
        raise ValueError(wrong)
    return value


@functools.cache
def warn_once(text: str) -> None:
    """Log, once in a process, what every reader of a file would say again."""
    logger.warning("%s", text)


def files_ending(folder: Path | None, suffix: str) -> list[Path]:
    """A folder's files of one kind, such as `.json`, sorted by name, without hidden ones; empty if there is no folder.

    Path.glob would be several times slower.
    """
    try:
        names = os.listdir(folder) if folder is not None else []
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Path(folder or "", name) for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]


def on_disk(path: Path) -> Path:
    """The path with its names as the disk has them: the same letters, but perhaps in another Unicode form.

    A path of which nothing exists there comes back unchanged.
    """
    text = str(path)
    if text.isascii() or os.path.lexists(text) or path.parent == path:
        return path
    folder = on_disk(path.parent)
    if os.path.lexists(folder / path.name):
        return folder / path.name
    try:
        name = _by_composed_name(str(folder), os.stat(folder).st_mtime_ns).get(composed(path.name))
    except (OSError, ValueError):
        return path
    return path if name is None else folder / name


@functools.lru_cache(maxsize=256)
def _by_composed_name(folder: str, mtime_ns: int) -> Mapping[str, str]:
    """Composed name -> name on the disk, for one state of a folder."""
    return {composed(name): name for name in sorted(os.listdir(folder))}


def walk(root: Path, *, on_error: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
    """(folder, names of folders in it, names of files in it), from ``root`` down.

    Names are sorted, hidden ones left out. Links are followed, but not to a folder that ``root`` lies in, such as `/`.
    Each folder comes once, whatever links lead to it, and by a path without links if there is one. A caller may remove
    names of folders that are not to be entered. A folder that cannot be read goes to ``on_error``.
    """
    around = os.path.realpath(root)
    seen: set[tuple[int, int]] = set()
    while (parent := os.path.dirname(around)) != around:
        around, status = parent, os.stat(parent)
        seen.add((status.st_dev, status.st_ino))
    plain, linked = [str(root)], deque[str]()
    while plain or linked:
        folder = plain.pop() if plain else linked.popleft()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            with os.scandir(folder) as entries:
                found = sorted((each for each in entries if each.name[0] != "."), key=lambda entry: entry.name)
        except OSError as error:
            on_error(error)
            continue
        seen.add((status.st_dev, status.st_ino))
        is_link = {entry.name: entry.is_symlink() for entry in found if _is_folder(entry)}
        folders = list(is_link)
        yield folder, folders, [entry.name for entry in found if entry.name not in is_link]
        linked.extend(os.path.join(folder, name) for name in folders if is_link[name])
        plain.extend(os.path.join(folder, name) for name in reversed(folders) if not is_link[name])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder, and that must not be replaced by a file."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        logger.debug("%s stays behind", path, exc_info=True)
