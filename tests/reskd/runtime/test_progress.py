"""Which process makes progress, told apart on real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from reskd.runtime.progress import NOWHERE, STORAGE_S, Logbook, Sign, Watch, is_progress, note, patience_s, tick

STILL_S = 0.7


def test_progress_is_a_frame_an_item_or_a_byte() -> None:
    before = Sign(ticks=5, num_bytes=100, status=psutil.STATUS_SLEEPING)
    assert is_progress(before, Sign(6, 100, psutil.STATUS_SLEEPING))
    assert is_progress(before, Sign(5, 101, psutil.STATUS_SLEEPING))
    assert not is_progress(before, Sign(5, 100, psutil.STATUS_RUNNING))


@pytest.mark.parametrize(
    ("sign", "patience"),
    [
        (Sign(0, 1, psutil.STATUS_SLEEPING), 40),
        (Sign(0, 1, psutil.STATUS_STOPPED), 40),
        (Sign(0, 1, psutil.STATUS_RUNNING), 40),
        (None, 40),
        (Sign(0, 1, psutil.STATUS_DISK_SLEEP), STORAGE_S),
        (Sign(0, None, psutil.STATUS_SLEEPING), STORAGE_S),
    ],
)
def test_only_storage_that_does_not_answer_is_waited_for_longer(sign: Sign | None, patience: float) -> None:
    assert patience_s(sign, still_s=40) == patience


def sleeps(_: Path) -> None:
    time.sleep(60)


def spins(_: Path) -> None:
    while True:
        pass


def stops(_: Path) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def dies(_: Path) -> None:
    os._exit(3)


def ticks(_: Path) -> None:
    while True:
        time.sleep(0.05)
        tick()


def reads_slowly(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while True:
            time.sleep(0.05)
            file.read(1)


def states(work: Callable[[Path], None], path: Path, *, still_s: float = STILL_S) -> list[str]:
    """What is seen of a process over a little more than the time, until it is not working."""
    context = multiprocessing.get_context("fork")
    logbook = Logbook(2, context=context)

    def begin() -> None:
        logbook.enter(1)
        note(7)
        work(path)

    process = context.Process(target=begin)
    process.start()
    try:
        until = time.monotonic() + 30
        while logbook.place(1) != 7 and time.monotonic() < until:
            time.sleep(0.01)
        assert logbook.pid(1) == process.pid
        watch, seen = Watch(logbook, 1, still_s=still_s), ["works"]
        until = time.monotonic() + 1.3 * still_s
        while seen[-1] == "works" and time.monotonic() < until:
            time.sleep(0.1)
            seen.append(watch.look())
        return seen
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("work", [sleeps, spins, stops])
def test_a_process_that_does_nothing_hangs_after_the_time_and_not_before(
    work: Callable[[Path], None], tmp_path: Path
) -> None:
    seen = states(work, tmp_path)
    assert seen[-1] == "hangs"
    assert len(seen) > 2


def test_a_process_that_has_ended_died(tmp_path: Path) -> None:
    assert states(dies, tmp_path)[-1] == "died"


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this kernel does not count what a process reads")
@pytest.mark.parametrize("work", [ticks, reads_slowly])
def test_a_slow_process_works(work: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(bytes(1000))
    assert set(states(work, tmp_path / "video", still_s=2.0)) == {"works"}


def test_a_logbook_is_empty_before_its_processes_start() -> None:
    logbook = Logbook(3)
    assert [logbook.pid(process) for process in range(3)] == [0, 0, 0]
    assert Watch(logbook, 2).look() == "works"
    assert NOWHERE < 0
