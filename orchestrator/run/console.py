"""The consoles that everything is printed through."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console

PIPE_WIDTH = 160
"""Columns where the output is no terminal: wide, so that tables in a log keep their lines whole."""


def make_console(file: TextIO | None = None, *, stderr: bool = False) -> Console:
    """A console for a stream; plain and wide where that is no terminal."""
    plain = Console(file=file, stderr=stderr, highlight=False)
    if plain.is_terminal or "COLUMNS" in os.environ:
        return plain
    return Console(file=file, stderr=stderr, highlight=False, width=PIPE_WIDTH)
