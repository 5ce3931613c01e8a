"""What a command line says, in one line, about errors of the machine that no command has put into words."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from reskd.errors import brief, reason_of
from reskd.text import visible

WAYS_OUT = {
    errno.ENOENT: "check the name",
    errno.ENOTDIR: "a part of it is a file, not a folder; check the name",
    errno.EISDIR: "name a file",
    errno.EINVAL: "name a file",
    errno.EEXIST: "it is no folder, name another place",
    errno.ELOOP: "mend or remove the link",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EACCES: "get the right to it, or name another place",
    errno.EPERM: "get the right to it, or name another place",
    errno.EROFS: "name another place",
}
"""Errors of a name that a user gave -> what to do. All others are of the machine, and may be over later."""
FULL = "make room there, then type the same command again: what is done stays"
AGAIN = "mend it, then type the same command again: what is done stays"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in words, and the exit code."""

    words: str
    exit_code: int


def fault_of(error: BaseException) -> Fault | None:
    """The words for an error of the file system or of too deep an input; None for any other, which is a bug of ours.

    Exit code 2: a name or an input is wrong. 1: the machine failed in the middle of work.
    """
    if isinstance(error, OSError):
        where = f"{brief(visible(str(error.filename)))}: " if error.filename is not None else ""
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way_out = WAYS_OUT.get(error.errno or 0) or (FULL if is_full else AGAIN)
        return Fault(f"{where}{reason_of(error)}; {way_out}", 2 if error.errno in WAYS_OUT else 1)
    if isinstance(error, RecursionError):
        return Fault("an input is nested too deeply to be read; check the files that the command names", 2)
    if isinstance(error, ValueError) and "embedded null" in str(error):  # Python's words where a path holds one
        return Fault("a path holds a NUL character; write it without", 2)
    return None
