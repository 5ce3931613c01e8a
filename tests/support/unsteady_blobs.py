"""A folder that answers late, or not at all, as a bucket far away does."""

from __future__ import annotations

import time
from pathlib import Path

from reskd.blobs import Entry, FolderBlobs


class UnsteadyBlobs(FolderBlobs):
    """Each answer takes ``answer_s`` seconds; with ``is_away``, there is none."""

    def __init__(self, root: Path, *, answer_s: float = 0.0) -> None:
        super().__init__(root)
        self.answer_s, self.is_away = answer_s, False

    def _answer(self) -> None:
        if self.is_away:
            raise ConnectionError("no answer")
        time.sleep(self.answer_s)

    def read(self, key: str) -> bytes | None:
        self._answer()
        return super().read(key)

    def exists(self, key: str) -> bool:
        self._answer()
        return super().exists(key)

    def write(self, key: str, content: bytes) -> None:
        self._answer()
        super().write(key, content)

    def entries(self, folder: str) -> list[Entry]:
        self._answer()
        return super().entries(folder)
