"""Which Ray a process is to use, from its environment; needs no Ray."""

from __future__ import annotations

import os


def joins_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster; else Ray is started here."""
    return "RAY_ADDRESS" in os.environ


def without_token() -> None:
    """Before `ray.init`, where the environment says nothing of tokens and names no cluster.

    A local Ray would otherwise write a token file that switches every later `ray start` of this user to tokens.
    """
    if not joins_cluster():
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
