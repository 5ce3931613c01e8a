"""Shows a run while it lives, from its records in the store: in the run's own terminal, and in any other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.live import Live

from orchestrator.run.beside import beside
from orchestrator.run.display.lines import Lines
from orchestrator.run.display.table import picture
from orchestrator.run.display.view import Looker
from orchestrator.store.lease import StallWatch
from orchestrator.store.run_records import RunRecord, RunRecords
from reskd.errors import ReskdError

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks at the records."""
SNAPSHOT_WIDTH = 100
SNAPSHOT_HEIGHT = 1000


class Board:
    """The display of one run: a live picture on a terminal, plain lines elsewhere."""

    def __init__(self, records: RunRecords, run_id: str, console: Console) -> None:
        self._looker, self._lines, self._console = Looker(records, run_id), Lines(), console
        # Otherwise Live would take over sys.stdout, and Ray's output would not go to the log file.
        live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live = live if console.is_terminal else None

    def look(self) -> bool:
        """Show what is new. Returns False once the run's record is gone."""
        view = self._looker.look()
        if view is None:
            return False
        if self._live is None:
            self._print(self._lines.news(view))
            return True
        self._live.start()
        self._print(self._lines.ended(view))
        size = self._console.size
        self._live.update(picture(view, width=size.width, height=size.height), refresh=True)
        return True

    def close(self) -> None:
        """Leave the last picture, and the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def _print(self, lines: Iterator[tuple[str, str]]) -> None:
        for line, style in lines:
            print_line(self._console, line, style)


def print_line(console: Console, line: str, style: str) -> None:
    """Print a line that is never broken: a terminal shows what fits, a pipe gets everything."""
    is_cut = console.is_terminal
    overflow: Literal["ellipsis", "ignore"] = "ellipsis" if is_cut else "ignore"
    console.print(line, style=style, markup=False, highlight=False, no_wrap=True, overflow=overflow, crop=is_cut)


@contextmanager
def shown(records: RunRecords, run_id: str, console: Console) -> Iterator[None]:
    """Show a run from a thread until the body ends. Whatever happens to the display, the run goes on."""
    board = Board(records, run_id, console)

    def loop(stop: threading.Event) -> None:
        try:
            while not stop.wait(LOOK_S):
                _look(board)
            _look(board)  # at what has ended since
        finally:
            board.close()

    with beside(loop, name="display"):
        yield


def _look(board: Board) -> bool:
    try:
        return board.look()
    except (OSError, ReskdError) as error:
        logger.warning("the display could not read the store: %s", error)
        return True


def watch(records: RunRecords, run: RunRecord, console: Console, *, pause: Callable[[float], None] = time.sleep) -> str:
    """Show a run until it ends. Returns how it ended, in words."""
    board, watch = Board(records, run.id, console), StallWatch()
    try:
        while _look(board):
            if not records.lives(run, watch):
                return f"the run ({run.process}) has ended without a word; type its command again to resume it"
            pause(LOOK_S)
    finally:
        board.close()
    return "the run has ended"


def snapshot(records: RunRecords, run: RunRecord, console: Console) -> None:
    """Print the present state of a run once."""
    view = Looker(records, run.id).look()
    if view is not None:
        for line, style in Lines().ended(view):
            print_line(console, line, style)
        width = min(SNAPSHOT_WIDTH, console.width)
        console.print(picture(view, width=width, height=SNAPSHOT_HEIGHT), width=width)
