"""Makes the consoles that print all output."""

from __future__ import annotations

import os
from functools import partial
from typing import TextIO

from rich.console import Console

PIPE_WIDTH = 160
"""Width, in columns, of output that is not a terminal. It is large, so that lines of tables in a log are not broken."""


def make_console(file: TextIO | None = None, *, stderr: bool = False) -> Console:
    """A console for a stream; without colours and wide if the stream is not a terminal.

    It prints text as it is: [x] and :x: in the name of a folder, a row or a class are no markup.
    """
    make = partial(Console, file=file, stderr=stderr, highlight=False, markup=False, emoji=False)
    plain = make()
    return plain if plain.is_terminal or "COLUMNS" in os.environ else make(width=PIPE_WIDTH)
