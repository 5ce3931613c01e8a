"""Runs a function as a user without rights of root: in a fork that gives them up, if this process has them."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
NOBODY = 65534


def as_other_user(function: Callable[[], Answer]) -> Answer:
    """The function's result in a fork of this process.

    Of root's fork, the user is `nobody`. Otherwise it is this user, from whom files are closed by their mode alone.
    Raises AssertionError with the traceback if the function raises.
    """
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            answer = True, function()
        except BaseException:
            answer = False, traceback.format_exc()
        with os.fdopen(writing, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        is_right, answer = pickle.load(file)
    os.waitpid(child, 0)
    assert is_right, answer
    return answer
