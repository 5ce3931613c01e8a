"""Decides from the environment which Ray a process uses. Does not import Ray."""

from __future__ import annotations

import os
import socket

from reskd.errors import BadInput

CONNECT_S = 10


def joins_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster. Otherwise a local Ray is started."""
    return "RAY_ADDRESS" in os.environ


def without_token() -> None:
    """Turn tokens off before `ray.init`, if the environment neither mentions tokens nor names a cluster.

    Otherwise a local Ray would write a token file, which switches on tokens for every later `ray start` of this user.
    """
    if not joins_cluster():
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")


def refuse_unreachable(address: str, *, where: str) -> None:
    """Raise BadInput if nothing answers at host:port. Ray itself tries for minutes and then ends the process.

    ``where`` says where the address was given.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal():
        return  # auto, local, or a scheme of Ray's
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise BadInput(
            f"{where} {address}: nobody answers ({error}); give the address of `ray start --head`"
        ) from error
