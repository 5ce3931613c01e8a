"""Decides from the environment which Ray a process uses. Does not import Ray."""

from __future__ import annotations

import os
import socket

from reskd.errors import BadInput

VARIABLE = "RAY_ADDRESS"
CONNECT_S = 10
CLIENT = "ray://"
LOCAL, FOUND = "local", "auto"
"""Ray's words: a new Ray on this machine, and the one that runs on this machine."""


def cluster_address() -> str | None:
    """The cluster that RAY_ADDRESS names. None: a local Ray is started, as the variable is unset, empty or `local`."""
    address = os.environ.get(VARIABLE, "").strip()
    return None if address in ("", LOCAL) else address


def joins_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster. Otherwise a local Ray is started."""
    return cluster_address() is not None


def without_token() -> None:
    """Turn tokens off before `ray.init`, if the environment neither mentions tokens nor names a cluster.

    Otherwise a local Ray would write a token file, which switches on tokens for every later `ray start` of this user.
    """
    if not joins_cluster():
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")


def refuse_address(address: str, *, where: str, from_outside: bool = False) -> None:
    """Raise BadInput unless the address is one that Ray can join, and something answers there.

    Ray itself raises many kinds of errors, or tries for minutes and then ends the process. ``where`` says where the
    address was given. ``from_outside``: whether the work can be sent through Ray Client, ray://host:10001.
    """
    rest = address.removeprefix(CLIENT) if from_outside else address
    if rest in (LOCAL, FOUND):
        return
    if "://" in rest:
        raise BadInput(f"{where} {address}: {_scheme_refused(rest)}; {_way_out(where)}")
    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise BadInput(f"{where} {address}: neither host:port nor auto; {_way_out(where)}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: a host's name of impossible letters
        raise BadInput(f"{where} {address}: nobody answers ({error}); {_way_out(where)}") from error


def _scheme_refused(address: str) -> str:
    scheme = address.partition("://")[0]
    if scheme in ("http", "https"):
        return "that is the address of a dashboard, to which `reskd submit --address` sends a job"
    if address.startswith(CLIENT):
        return "a run cannot be steered through Ray Client; start it on the cluster, with `reskd submit`"
    return f"{scheme}:// is no address of Ray"


def _way_out(where: str) -> str:
    without = f", or unset {VARIABLE} to use this machine" if where == VARIABLE else ""
    return f"give the address of `ray start --head`, such as host:6379{without}"
