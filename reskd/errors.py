"""Errors that a user can correct. Each message names the file or field, the value, and the way out."""

from __future__ import annotations

from reskd.passwords import without_passwords

BRACKETS = "[ and ] stand only around an IPv6 address; in a password, write them as %5B and %5D"
"""What is wrong with an address that `urllib` cannot split."""
MAX_LETTERS = 800
"""Longest message about a value. One of a hundred thousand letters would push everything else off the screen."""


class ReskdError(Exception):
    """Base class of every error that reskd raises on purpose. No password of a URI gets into one."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(without_passwords(word) if isinstance(word, str) else word for word in words))


class BadInput(ReskdError, ValueError):
    """A value from the user is wrong. Nothing was started.

    A longer message than MAX_LETTERS is cut in its middle: the place stands at its start, the way out at its end.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(brief(message))


def brief(text: str, *, most: int = MAX_LETTERS) -> str:
    """The text; of a longer one than ``most`` letters, its first and last part."""
    if len(text) <= most:
        return text
    kept = (most - 5) // 2
    return f"{text[: most - 5 - kept]} ... {text[-kept:]}"


class Damaged(BadInput):
    """A file that reskd wrote no longer holds what was written: it rotted, it was cut, or somebody edited it."""

    def __init__(self, where: str, reason: str, way_out: str) -> None:
        super().__init__(f"{where}: damaged or edited ({reason}); {way_out}")
        self.where, self.reason, self.way_out = where, reason, way_out

    def __reduce__(self) -> tuple[type[Damaged], tuple[str, str, str]]:
        return type(self), (self.where, self.reason, self.way_out)  # the default would pass the one joined message


def reason_of(error: BaseException) -> str:
    """Why something failed, as one line inside a message that names the file itself."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]!r} is missing"
    return without_passwords(" ".join(str(error).split())) or type(error).__name__


class LeaseLost(ReskdError):
    """Another run has taken over this step, so this run must not write to it any more."""


class LoaderLost(ReskdError):
    """A loader process died, hangs, or cannot hand its clips over. Another try may succeed."""


class DecodeError(ReskdError):
    """The content of a video does not decode with this backend. Another try gives the same result.

    Errors of the file system are not decode errors; they stay OSErrors.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        return type(self), (self.path, self.reason)  # the default would pass the one joined message


class VideoOpenError(DecodeError):
    """The file is no video, or has no video stream or no frames."""


class VideoReadError(DecodeError):
    """The file opens, but a requested frame does not decode."""


class TooManyDamaged(ReskdError):
    """More clips of a split fail to decode than the recipe allows."""
