"""Named pieces of content ("blobs") in a folder or in an object store, with the few operations that the store needs.

Names ("keys") are relative paths with "/" between their parts. A blob is read and written as a whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reskd.files import write_atomic

LOCK = "lease.lock"
"""The file that is locked for conditional writes in a folder. Its name cannot change, since existing stores use it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One blob in a listing."""

    key: str
    modified: float
    """Time of the last write in seconds. Compare it only with others of the same place."""


class Blobs(Protocol):
    """A place that holds blobs by key.

    Raises OSError if the place does not answer or refuses. A missing blob is not an error.
    """

    @property
    def address(self) -> str:
        """The folder's path, or the URL of bucket and prefix."""
        ...

    def where(self, key: str) -> str:
        """A key with its place, for users and for other machines."""
        ...

    def local(self, key: str) -> Path:
        """The blob as an up-to-date file on this machine. Raises FileNotFoundError if there is no such blob."""
        ...

    def read(self, key: str) -> bytes | None:
        """The content; None if there is no such blob."""
        ...

    def read_version(self, key: str) -> tuple[bytes | None, str | None]:
        """(content, version) for `replace`. The version changes with the content.

        Both are None if there is no such blob.
        """
        ...

    def exists(self, key: str) -> bool: ...

    def write(self, key: str, content: bytes) -> None:
        """Write the content. A reader sees the old content or the new one, never a part."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Write if there is no such blob. Returns whether it was written; of several callers, one succeeds."""
        ...

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        """Write if the version is still the same. Returns the new version; None if it was not written."""
        ...

    def entries(self, folder: str) -> list[Entry]:
        """The blobs directly in a folder, by key."""
        ...

    def folders_with(self, folder: str, name: str) -> list[str]:
        """Names of the folders in ``folder`` that hold a blob with this name, sorted."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs. Missing ones are ignored."""
        ...

    def delete_folder(self, folder: str, *, last: str | None = None) -> None:
        """Delete everything below a folder; the key ``last`` is deleted last."""
        ...

    def delete_leftovers(self, folder: str) -> None:
        """Delete the remains of interrupted writes directly in a folder."""
        ...


class FolderBlobs:
    """Blobs as files below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def address(self) -> str:
        return str(self.root)

    def path(self, key: str) -> Path:
        """The file of a blob."""
        return self.root / key

    def where(self, key: str) -> str:
        return str(self.path(key))

    def local(self, key: str) -> Path:
        return self.path(key)

    def read(self, key: str) -> bytes | None:
        try:
            with open(f"{self.root}/{key}", "rb") as file:  # of thousands, Path's own reading takes half as long again
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_version(self, key: str) -> tuple[bytes | None, str | None]:
        content = self.read(key)
        return content, None if content is None else _version(content)

    def exists(self, key: str) -> bool:
        return _is_there(str(self.path(key)))

    def write(self, key: str, content: bytes) -> None:
        write_atomic(self.path(key), content)

    def create(self, key: str, content: bytes) -> bool:
        with _exclusive(self.path(key)):
            if self.exists(key):
                return False
            self.write(key, content)
            return True

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        with _exclusive(self.path(key)):
            if self.read_version(key)[1] != version:
                return None
            self.write(key, content)
            return _version(content)

    def entries(self, folder: str) -> list[Entry]:
        try:
            with os.scandir(self.path(folder)) as found:
                files = [each for each in found if each.name[0] != "." and each.name != LOCK and each.is_file()]
                return sorted(
                    (Entry(f"{folder}/{each.name}", each.stat().st_mtime_ns / 1e9) for each in files),
                    key=lambda entry: entry.key,
                )
        except FileNotFoundError:
            return []

    def folders_with(self, folder: str, name: str) -> list[str]:
        try:
            names = os.listdir(self.path(folder))
        except FileNotFoundError:
            return []
        return sorted(each for each in names if _is_there(f"{self.root}/{folder}/{each}/{name}"))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def delete_folder(self, folder: str, *, last: str | None = None) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path(folder))

    def delete_leftovers(self, folder: str) -> None:
        for left in self.path(folder).glob(".*.tmp"):
            left.unlink(missing_ok=True)


def _is_there(path: str) -> bool:
    """Whether there is such a file. Raises OSError if that cannot be seen: no rights, or a share that is away."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the folder's lock: one process and thread at a time. If the holder dies, the system frees the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(LOCK), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
