"""Maps a function over many items in several processes. A process that dies or hangs does not stop the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from reskd.errors import BadInput
from reskd.runtime.progress import CHECK_S, NOWHERE, STILL_S, STORAGE_S, Logbook, Watch, note

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Lost:
    """The result of an item whose process died or hung."""

    reason: str


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, still_s: float = STILL_S
) -> Iterator[tuple[Item, Result | Lost]]:
    """Yield (item, result) in order of completion. The result is Lost if the item kills its process or makes it hang.

    A dead process breaks the whole pool, and the pool does not say which item was the cause. So only a few items are in
    the pool at a time, and after a death these are tried again one by one. ``still_s``: after how many seconds without
    progress a process hangs; it is killed. Raises BadInput if no process starts.
    """
    waiting = deque(range(len(items)))
    while waiting:
        suspects: list[int] = []
        for number, result in _until_a_death(function, items, waiting, workers=workers, still_s=still_s):
            if result is None:
                suspects.append(number)
            else:
                yield items[number], result[0]
        for suspect in suspects:
            for number, result in _until_a_death(function, items, deque([suspect]), workers=1, still_s=still_s):
                yield items[number], Lost("its process died") if result is None else result[0]


def _until_a_death(
    function: Callable[[Item], Result], items: Sequence[Item], waiting: deque[int], *, workers: int, still_s: float
) -> Iterator[tuple[int, tuple[Result | Lost] | None]]:
    """Yield the number of an item and its result in a tuple; None for each item that was in the pool at a death."""
    hanging: dict[int, Lost] = {}
    with _Pool(workers, still_s=still_s) as pool:
        running: dict[Future[Result], int] = {}
        while (waiting and not pool.is_broken) or running:
            while waiting and len(running) < 2 * workers and not pool.is_broken:
                number = waiting.popleft()
                future = pool.submit(function, number, items[number])
                if future is None:
                    yield number, None
                else:
                    running[future] = number
            for future in wait(running, timeout=pool.check_s, return_when=FIRST_COMPLETED).done:
                number = running.pop(future)
                if not isinstance(future.exception(), BrokenProcessPool):
                    yield number, (future.result(),)
                    continue
                pool.is_broken = True
                yield number, (hanging[number],) if number in hanging else None
            hanging |= pool.end_hanging()


class _Pool:
    """Spawned processes that are watched. Forked ones would not work: a decoder's locks and threads do not survive."""

    def __init__(self, workers: int, *, still_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.is_broken = False
        self.check_s = min(CHECK_S, still_s / 2)
        self._still_s = still_s
        self._logbook = Logbook(workers, context=context)
        self._looked = time.monotonic()
        number = context.Value("i", 0)
        self._pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(self._logbook, number)
        )
        try:
            self._pool.submit(os.getpid).result(timeout=STORAGE_S)
        except (BrokenProcessPool, TimeoutError) as error:
            raise BadInput(
                f"{workers} worker processes do not start; call from a program whose start is under "
                "`if __name__ == '__main__':`, or use workers=1"
            ) from error
        self._watches = [Watch(self._logbook, process, still_s=still_s) for process in range(workers)]

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # nobody waits for what still runs, and one of it may hang
            for process in range(self._logbook.num_processes):
                self._kill(process)
        self._pool.shutdown(cancel_futures=True)

    def _kill(self, process: int) -> None:
        if pid := self._logbook.pid(process):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def submit(self, function: Callable[[Item], Result], number: int, item: Item) -> Future[Result] | None:
        """None if a process has died."""
        try:
            return self._pool.submit(_noted, function, number, item)
        except BrokenProcessPool:
            self.is_broken = True
            return None

    def end_hanging(self) -> dict[int, Lost]:
        """Kill the processes that hang. Returns their items' numbers."""
        if time.monotonic() - self._looked < self.check_s:
            return {}
        self._looked = time.monotonic()
        hanging: dict[int, Lost] = {}
        for process, watch in enumerate(self._watches):
            place = self._logbook.place(process)
            if not self._logbook.pid(process) or place == NOWHERE:
                self._watches[process] = Watch(self._logbook, process, still_s=self._still_s)
            elif watch.look() == "hangs":
                hanging[place] = Lost(f"its process made no progress for {watch.still_for_s:.0f} s and was ended")
                self._kill(process)
        return hanging


def _begin(logbook: Logbook, number: Any) -> None:
    """What each process does at its start. ``number``: the number of processes before it."""
    with number.get_lock():
        logbook.enter(number.value)
        number.value += 1


def _noted(function: Callable[[Item], Result], number: int, item: Item) -> Result:
    note(number)
    try:
        return function(item)
    finally:
        note(NOWHERE)
