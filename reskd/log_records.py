"""What a logger of any package may write: no password, and no control characters for the terminal."""

from __future__ import annotations

import logging
from typing import Any

from reskd.passwords import without_passwords
from reskd.text import without_commands


def write_safe_logs() -> None:
    """Let every logger of this process, also of other people's packages, write such records."""
    logging.setLogRecordFactory(_Record)


class _Record(logging.LogRecord):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0] is not None:  # a formatter takes the text that it finds
            self.exc_text = _safe(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:
        return _safe(super().getMessage())


def _safe(text: str) -> str:
    return without_commands(without_passwords(text))
