"""Named pieces of content, in a folder or in an object store: the few operations that a record is built from.

Names ("keys") are paths below one place, with "/" between their parts. A piece is read and written whole.
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
"""The file that conditional writes in a folder lock; the name that stores have had from the beginning."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece as a listing shows it."""

    key: str
    modified: float
    """When it was last written, in seconds; only compared with others of the same place."""


class Blobs(Protocol):
    """A place that holds pieces of content by key.

    Errors: OSError when the place does not answer or refuses. A piece that is not there is no error.
    """

    @property
    def address(self) -> str:
        """What leads here again: a folder's path, or the URL of a bucket and prefix."""
        ...

    def where(self, key: str) -> str:
        """A key with its place, as people and other machines read it."""
        ...

    def local(self, key: str) -> Path:
        """The piece as a file on this machine, as new as it is now; FileNotFoundError where there is none."""
        ...

    def read(self, key: str) -> bytes | None:
        """The content, None where there is none."""
        ...

    def read_version(self, key: str) -> tuple[bytes | None, str | None]:
        """The content and a mark that changes with it, for `replace`; both None where there is none."""
        ...

    def exists(self, key: str) -> bool: ...

    def write(self, key: str, content: bytes) -> None:
        """Put the content there; a reader sees the old content or the new one, never a part."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Write unless there is something; whether it was written. One of many at once succeeds."""
        ...

    def replace(self, key: str, content: bytes, version: str) -> bool:
        """Write if what is there is still that version; whether it was written."""
        ...

    def entries(self, folder: str) -> list[Entry]:
        """The pieces directly in a folder, by key."""
        ...

    def folders_with(self, folder: str, name: str) -> list[str]:
        """The names of the folders in ``folder`` that hold a piece of this name, sorted."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove pieces; those that are not there count as removed."""
        ...

    def delete_folder(self, folder: str, *, last: str | None = None) -> None:
        """Remove everything below a folder, the key ``last`` at the end."""
        ...

    def delete_leftovers(self, folder: str) -> None:
        """Remove what killed writes left directly in a folder."""
        ...


class FolderBlobs:
    """Pieces as files below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def address(self) -> str:
        return str(self.root)

    def path(self, key: str) -> Path:
        """The file that holds a piece."""
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
        return self.path(key).exists()

    def write(self, key: str, content: bytes) -> None:
        write_atomic(self.path(key), content)

    def create(self, key: str, content: bytes) -> bool:
        with _exclusive(self.path(key)):
            if self.exists(key):
                return False
            self.write(key, content)
            return True

    def replace(self, key: str, content: bytes, version: str) -> bool:
        with _exclusive(self.path(key)):
            if self.read_version(key)[1] != version:
                return False
            self.write(key, content)
            return True

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
        return sorted(each for each in names if os.path.exists(f"{self.root}/{folder}/{each}/{name}"))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def delete_folder(self, folder: str, *, last: str | None = None) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path(folder))

    def delete_leftovers(self, folder: str) -> None:
        for left in self.path(folder).glob(".*.tmp"):
            left.unlink(missing_ok=True)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """One process and thread at a time for a folder's conditional writes; the system frees a dead one's lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(LOCK), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
