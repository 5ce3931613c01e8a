"""Gives mutated inputs to processes that may be lost, and gathers what came of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from reskd.recipe import AnnotationFormat

SWEEPS = "sweeps"
KINDS = (SWEEPS, *get_args(AnnotationFormat))
"""What is mutated: sweep files, and the lists of each annotation format."""
ROOT = Path(__file__).parents[3]
MAX_SECONDS = 5.0
"""Of one processor."""
MAX_WAIT_SECONDS = 30.0
MAX_BYTES = 1 << 30

Outcome = Literal["read", "refused", "traceback", "hang", "died", "not a line", "too long", "names no file"]
RIGHT: tuple[Outcome, ...] = ("read", "refused")


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one input. (kind, seed, number) makes the same input again."""

    kind: str
    seed: int
    number: int
    outcome: Outcome
    seconds: float = MAX_SECONDS
    megabytes: int = 0
    """Memory that it took at its most."""
    words: str = ""
    """What the manifest or the plan holds, what was refused, or the traceback."""

    @property
    def is_right(self) -> bool:
        return self.outcome in RIGHT

    def __str__(self) -> str:
        again = f"python -m tests.support.fuzz --kinds {self.kind} --seed {self.seed} --only {self.number}"
        return f"{self.kind} {self.number}: {self.outcome} after {self.seconds:g} s, again with: {again}\n{self.words}"


def trials(kind: str, *, seed: int, first: int = 0, count: int) -> Iterator[Trial]:
    """What came of each of `count` inputs. A process that an input ends is started again at the next one."""
    number, end = first, first + count
    while number < end:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
            program = [sys.executable, "-m", "tests.support.fuzz.child"]
            child = subprocess.Popen(
                [*program, kind, str(seed), str(number), str(end - 1), home],
                cwd=ROOT,
                env={**os.environ, "RESKD_CACHE": f"{home}/cache", "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # warnings about missing videos
                text=True,
            )
            assert child.stdout is not None
            with child, child.stdout as lines:
                for line in lines:
                    number, outcome, seconds, megabytes, words = json.loads(line)
                    yield Trial(kind, seed, number, outcome, seconds, megabytes, words)
                    number += 1
            if number < end:
                is_hang = child.returncode in (-signal.SIGPROF, -signal.SIGALRM)
                yield Trial(kind, seed, number, "hang" if is_hang else "died", words=f"exit code {child.returncode}")
                number += 1
