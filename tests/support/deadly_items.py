"""What a process does that some items kill. It loads nothing, since each new process loads this module first."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def half_or_die(number: int) -> float:
    if number in (3, 8):
        os._exit(1)
    return number / 2


def examine_or_die(path: Path, **options: object) -> object:
    """`reskd.data.check._examine`, but for videos named 3.mp4."""
    if path.name == "3.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    from reskd.data.check import _examine

    return _examine(path, **options)
