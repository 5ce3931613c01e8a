"""What a process does that some items make hang. It loads nothing, since each new process loads this module first."""

from __future__ import annotations

import time


def half_or_hang(number: int) -> float:
    if number == 3:
        time.sleep(3600)
    return number / 2
