"""Errors that a person can mend: each message names the file or field, the value, and the way out."""

from __future__ import annotations


class ReskdError(Exception):
    """Base of every error that reskd raises on purpose."""


class BadInput(ReskdError, ValueError):
    """A value that a person gave is wrong; nothing was started."""


class LeaseLost(ReskdError):
    """Another run has taken this step over; whatever this one would write now is not its own to write."""


class DecodeError(ReskdError):
    """A video's own content does not decode with this backend; trying again gives the same.

    File system errors are not decode errors: they stay the ``OSError`` they are.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        return type(self), (self.path, self.reason)  # the default would pass the one joined message


class VideoOpenError(DecodeError):
    """Not a video, no video stream, or no frames at all."""


class VideoReadError(DecodeError):
    """The file opens, but a frame that was asked for does not decode."""


class TooManyDamaged(ReskdError):
    """More clips of a split do not decode than the recipe allows."""
