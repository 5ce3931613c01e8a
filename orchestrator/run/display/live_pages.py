"""Keeps the page of each sweep up to date while it trains, from a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.report_page import PageWriter, write_or_warn
from orchestrator.run.beside import beside

WRITE_EVERY_S = 30.0
MOST_SHARE = 0.02
"""Most CPU time of this process that goes into pages, as a share of the time between them: of a very large sweep they
are written less often."""


@contextmanager
def live_pages(prepared: Sequence[Prepared], *, every_s: float = WRITE_EVERY_S) -> Iterator[None]:
    """Write each sweep's page when it has news, about every ``every_s`` seconds. A fault is only a warning, once."""
    writers = {one.sweep.name: PageWriter(one) for one in prepared}

    def loop(stop: threading.Event) -> None:
        pause_s = min(every_s, 5.0)  # the first page soon, so that there is something to look at
        while writers and not stop.wait(pause_s):
            started = time.thread_time()
            for name, writer in list(writers.items()):
                if not write_or_warn(writer.write_news, what=name):
                    del writers[name]
            pause_s = max(every_s, (time.thread_time() - started) / MOST_SHARE)

    with beside(loop, name="pages"):
        yield
