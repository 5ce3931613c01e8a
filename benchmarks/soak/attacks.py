"""The attacks: each does one thing to a part of a living run, and undoes what does not undo itself."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.soak.servers import Server

STOPPED_S = 90.0
MAX_SILENT_S = 45.0
"""Longest time for which the bucket does not answer. A run ends by itself where it lasts longer than the leases."""
AWAY_S = 5.0
FULL_S = 10.0
LOADER = "pt_data_worker"
"""The name of a loader process, which has its worker's command."""


@dataclass
class Target:
    """A run under attack, and what stands beside it."""

    process: subprocess.Popen[bytes]
    again: Callable[[], subprocess.Popen[bytes]]
    """Starts the same command once more, beside the first."""
    mlflow: Server | None = None
    bucket: Server | None = None
    disk: Path | None = None
    """The store's folder, if its disk is small enough to be filled."""

    def part(self, word: str) -> list[psutil.Process]:
        """The processes below the run whose command contains this word."""
        found = []
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if child.name() != LOADER and word in " ".join(child.cmdline())[:400]:
                        found.append(child)
        return found


Attack = Callable[[Target, random.Random], bool]
"""Returns whether it was done: the part may not be there just now."""


def _killed(word: str) -> Attack:
    def attack(target: Target, draw: random.Random) -> bool:
        found = target.part(word)
        if not found:
            return False
        draw.choice(found).kill()
        return True

    return attack


def _run_killed(target: Target, draw: random.Random) -> bool:
    target.process.kill()
    return True


def _run_interrupted(target: Target, draw: random.Random) -> bool:
    target.process.send_signal(signal.SIGINT)
    return True


def _run_stopped(target: Target, draw: random.Random) -> bool:
    """As where a laptop sleeps or a machine swaps: nothing moves for a while, then everything goes on."""
    target.process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_S)
    target.process.send_signal(signal.SIGCONT)
    return True


def _second_run(target: Target, draw: random.Random) -> bool:
    """Another user types the same command: it must leave the steps alone."""
    other = target.again()
    other.wait()
    return other.returncode == 3


def _mlflow_killed(target: Target, draw: random.Random) -> bool:
    if target.mlflow is None:
        return False
    target.mlflow.kill()
    time.sleep(AWAY_S)
    target.mlflow.start()
    return True


def _bucket_silent(target: Target, draw: random.Random) -> bool:
    if target.bucket is None:
        return False
    target.bucket.signal(signal.SIGSTOP)
    time.sleep(draw.uniform(5, MAX_SILENT_S))
    target.bucket.signal(signal.SIGCONT)
    return True


def _disk_full(target: Target, draw: random.Random) -> bool:
    if target.disk is None:
        return False
    filler = target.disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 65536):
                pass
        time.sleep(FULL_S)
    finally:
        filler.unlink()
    return True


ATTACKS: dict[str, Attack] = {
    "a worker killed": _killed("ray::RayTrainWorker"),
    "a trial with Train's controller killed": _killed("ray::ResourceTrainable"),
    "`reskd run` killed": _run_killed,
    "`reskd run` interrupted": _run_interrupted,
    f"`reskd run` stopped for {STOPPED_S:.0f} s": _run_stopped,
    "Ray's raylet killed": _killed("raylet/raylet"),
    "Ray's gcs_server killed": _killed("gcs_server"),
    "a second `reskd run`": _second_run,
    "the MLflow server killed, back after 5 s": _mlflow_killed,
    f"the bucket silent for 5 to {MAX_SILENT_S:.0f} s": _bucket_silent,
    "the disk full for 10 s": _disk_full,
}
