"""Errors of the machine in one line, with an exit code; a bug of ours stays what it is."""

from __future__ import annotations

import errno

import pytest

from reskd.faults import fault_of


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (OSError(errno.EACCES, "Permission denied", "/a"), "/a: Permission denied; get the right", 2),
        (OSError(errno.ELOOP, "Too many levels", "/a"), "/a: Too many levels; mend or remove the link", 2),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/a"), "/a: File name too long; shorten", 2),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "/a: No space left on device; make room", 1),
        (OSError(errno.EIO, "Input/output error", "/a\nb"), "/a\\nb: Input/output error; mend it", 1),
        (OSError("no number"), "no number; mend it", 1),
        (RecursionError("maximum"), "an input is nested too deeply", 2),
        (ValueError("embedded null byte"), "a path holds a NUL character", 2),
    ],
)
def test_an_error_of_the_machine_is_one_line_with_a_way_out(error: Exception, words: str, code: int) -> None:
    fault = fault_of(error)
    assert fault is not None
    assert fault.words.startswith(words)
    assert (fault.exit_code, "\n" in fault.words) == (code, False)


@pytest.mark.parametrize("error", [KeyError("a"), ValueError("wrong"), TypeError(), AssertionError()])
def test_a_bug_of_ours_keeps_its_traceback(error: Exception) -> None:
    assert fault_of(error) is None
