"""Reads mutated inputs one after another, each within 5 s and 1 GB, and prints a line of JSON about each.

A program of its own, which `trials.py` starts: an input that takes too long ends the process.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from reskd.errors import BadInput
from reskd.faults import fault_of
from tests.support.fuzz import lists
from tests.support.fuzz.trials import MAX_BYTES, MAX_SECONDS, MAX_WAIT_SECONDS, SWEEPS, Outcome

MAX_WORDS = 1000
"""A line that a person has to read has no more letters."""


def main() -> None:
    kind, seed, first, last, home = sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5])
    make, read = parts_of(kind, home)
    resource.setrlimit(resource.RLIMIT_DATA, (status_bytes("VmData") + MAX_BYTES,) * 2)
    for number in range(first, last + 1):
        folder = home / str(number)
        folder.mkdir()
        os.chdir(folder)
        made = make(Random(f"{kind} {seed} {number}"), folder)
        Path("/proc/self/clear_refs").write_text("5")  # so that VmHWM is of this input alone
        before_bytes, begun = status_bytes("VmRSS"), time.process_time()
        # The kernel ends the process when its time is over, wherever it is. Other programs may slow it down, so the
        # processor's seconds count; who waits uses none, and gets more on the clock.
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, MAX_WAIT_SECONDS)
        outcome, words = tried(lambda made=made: read(made), folder)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        seconds, taken = time.process_time() - begun, status_bytes("VmHWM") - before_bytes
        print(json.dumps([number, outcome, round(seconds, 3), taken // 1_000_000, words]), flush=True)
        shutil.rmtree(folder, ignore_errors=True)


def parts_of(kind: str, home: Path) -> tuple[Callable[[Random, Path], Any], Callable[[Any], str]]:
    """What makes an input of this kind in a folder, and what reads it."""
    if kind != SWEEPS:
        return partial(lists.lay_mutated, kind), lists.read  # type: ignore[arg-type]
    from tests.support.fuzz import sweeps

    sweeps.warm_up(home)
    return sweeps.write_mutated, sweeps.planned


def tried(read: Callable[[], str], folder: Path) -> tuple[Outcome, str]:
    try:
        return "read", read()
    except (BadInput, OSError) as error:  # both are one line of the command that reads it
        fault = fault_of(error)
        words = fault.words if fault else str(error)
        if len(words.splitlines()) != 1 or not words.isprintable():
            return "not a line", ascii(words)
        if len(words) > MAX_WORDS:
            return "too long", f"{len(words)} letters: {words[:200]} ... {words[-200:]}"
        if str(folder) not in words:
            return "names no file", words
        return "refused", words
    except BaseException:
        text = traceback.format_exc()
        gc.collect()
        return "traceback", text


def status_bytes(name: str) -> int:
    """A number of this process from the kernel, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
