"""Which Ray a process is to use, from its environment; needs no Ray."""

from __future__ import annotations

import os
import socket

from reskd.errors import BadInput

CONNECT_S = 10


def joins_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster; else Ray is started here."""
    return "RAY_ADDRESS" in os.environ


def without_token() -> None:
    """Before `ray.init`, where the environment says nothing of tokens and names no cluster.

    A local Ray would otherwise write a token file that switches every later `ray start` of this user to tokens.
    """
    if not joins_cluster():
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")


def refuse_unreachable(address: str, *, where: str) -> None:
    """BadInput where nobody answers at host:port; Ray itself tries for minutes, and then ends the process.

    ``where`` says what the address was given as.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal():
        return  # auto, local, or a scheme of Ray's
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise BadInput(f"{where} {address}: nobody answers ({error}); give that of `ray start --head`") from error
