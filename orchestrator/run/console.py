"""Makes the consoles that print all output."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from reskd.text import without_commands

PIPE_WIDTH = 160
"""Width, in columns, of output that is not a terminal. It is large, so that lines of tables in a log are not broken."""


class PlainConsole(Console):
    """Shows control characters of a text, in which a name could send commands to the terminal, as `\\x1b`."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is shown of a text, a table or a display; rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(without_commands(segment.text), segment.style)


def make_console(file: TextIO | None = None, *, stderr: bool = False) -> Console:
    """A console for a stream; without colours and wide if the stream is not a terminal.

    It prints text as it is: [x] and :x: in the name of a folder, a row or a class are no markup, and control characters
    are shown, not obeyed.
    """
    make = partial(PlainConsole, file=file, stderr=stderr, highlight=False, markup=False, emoji=False)
    plain = make()
    return plain if plain.is_terminal or "COLUMNS" in os.environ else make(width=PIPE_WIDTH)
