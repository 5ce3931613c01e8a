"""Threads that work beside a run: they begin with a block of code and end with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(loop: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """Call ``loop`` in a thread while the body runs. At the body's end its event is set, and its return is awaited."""
    stop = threading.Event()
    thread = threading.Thread(target=loop, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
