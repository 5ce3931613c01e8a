"""Maps a function over many items in several processes. A process that dies does not stop the others."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from reskd.errors import BadInput

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Iterator[tuple[Item, Result | None]]:
    """Yield (item, result) in order of completion. The result is None if the item kills its process.

    A dead process breaks the whole pool, and the pool does not say which item was the cause. So only a few items are in
    the pool at a time, and after a death these are tried again one by one. Raises BadInput if no process starts.
    """
    waiting = deque(items)
    while waiting:
        suspects: list[Item] = []
        with _pool(workers) as pool:
            running: dict[Future[Result], Item] = {}
            while (waiting or running) and not suspects:
                while waiting and len(running) < 2 * workers and not suspects:
                    item = waiting.popleft()
                    try:
                        running[pool.submit(function, item)] = item
                    except BrokenProcessPool:
                        suspects.append(item)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        suspects.append(item)
                    else:
                        yield item, future.result()
            suspects += running.values()
        for item in suspects:
            yield item, _alone(function, item)


def _alone(function: Callable[[Item], Result], item: Item) -> Result | None:
    with _pool(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool:
            return None


def _pool(workers: int) -> ProcessPoolExecutor:
    """A pool of spawned processes. Forked ones would not work: a decoder's locks and threads do not survive a fork."""
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise BadInput(
            f"{workers} worker processes do not start; call from a program whose start is under "
            "`if __name__ == '__main__':`, or use workers=1"
        ) from error
    return pool
