"""What a process does that some items kill. It loads nothing, since each new process loads this module first."""

from __future__ import annotations

import os


def half_or_die(number: int) -> float:
    if number in (3, 8):
        os._exit(1)
    return number / 2
