"""The error of a full disk, brought about by a limit of this process: no file may become larger than this."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def small_files(max_bytes: int) -> Iterator[None]:
    """Each write beyond ends with an OSError, `File too large`. What is there already stays."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
