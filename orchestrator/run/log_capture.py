"""Writes the output of Ray and its workers into a log file, while our own lines still reach the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from orchestrator.run.console import make_console


@contextmanager
def quiet(log: Path) -> Iterator[Console]:
    """Redirect file descriptors 1 and 2 to ``log``. The yielded console writes to the former output.

    Descriptors are used instead of sys.stdout because Ray's C++ core and its log forwarding write to them directly.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    terminal = os.fdopen(os.dup(kept[0]), "w", buffering=1, encoding=sys.stdout.encoding, errors="replace")
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield make_console(terminal)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        terminal.close()
