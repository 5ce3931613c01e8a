"""Hides passwords in whatever is shown or recorded: messages, logs, commands, records of failures."""

from __future__ import annotations

import re

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
