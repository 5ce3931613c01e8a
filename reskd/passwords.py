"""Hides passwords in whatever is shown or recorded: messages, logs, commands, records of failures."""

from __future__ import annotations

import logging
import re
from typing import Any

HIDDEN = "***"
OF_A_URI = re.compile(r"(//[^\s/:@]*:)\S*@")
"""A user and its password. It goes on to the last @ of the word, since people write / ? # and @ into passwords."""
ALONE = re.compile(r"//[^\s/:@]+@")
"""A user without a password, which may be a token."""
OF_A_PROXY = re.compile(r"^([^\s/:@]+:)(?!//)\S*@")
"""A user and its password at the beginning of an address without a scheme."""
SETTING = re.compile(
    r"((?:password|passwd|pwd|token|secret|signature|api_?key|access_?key|[?&]sig)=)[^\s&;,'\")]+", re.IGNORECASE
)
"""A parameter of a URI or of a database's address: `?password=...`, `&sslpassword=...`, Azure's `&sig=...`."""


def without_passwords(text: str) -> str:
    """The text with `***` for each password in it, such as `http://user:***@host`.

    What only looks like a password is hidden too: rather a word too many than a password.
    """
    if "@" not in text and "=" not in text:  # the usual case
        return text
    text = OF_A_PROXY.sub(rf"\1{HIDDEN}@", OF_A_URI.sub(rf"\1{HIDDEN}@", text))
    return SETTING.sub(rf"\1{HIDDEN}", ALONE.sub(f"//{HIDDEN}@", text))


def hide_in_logs() -> None:
    """Let every logger of this process, also of other people's packages, log without passwords."""
    logging.setLogRecordFactory(_Record)


class _Record(logging.LogRecord):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0] is not None:  # a formatter takes the text that it finds
            self.exc_text = without_passwords(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:
        return without_passwords(super().getMessage())
