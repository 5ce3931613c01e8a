"""Decides from the environment which Ray a process uses. Imports Ray only to look for one on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection

from reskd.errors import BadInput

VARIABLE = "RAY_ADDRESS"
CONNECT_S = 10
CLIENT = "ray://"
LOCAL, FOUND = "local", "auto"
"""Ray's words: a new Ray on this machine, and the one that runs on this machine."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What a gRPC client sends first, ending with an empty SETTINGS frame (RFC 9113, section 3.4)."""
SETTINGS = 4
"""Type of the frame that a gRPC server sends first, in its byte 3."""


def cluster_address() -> str | None:
    """The cluster that RAY_ADDRESS names. None: a local Ray is started, as the variable is unset, empty or `local`."""
    address = os.environ.get(VARIABLE, "").strip()
    return None if address in ("", LOCAL) else address


def joins_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster. Otherwise a local Ray is started."""
    return cluster_address() is not None


def settled_address(address: str, *, where: str, from_outside: bool = False) -> str:
    """The address for `ray.init`: `local`, or that of a Ray that answers, for `auto` that of the one found here.

    Raises BadInput for anything else. Ray itself raises many kinds of errors, or tries for minutes and then ends the
    process. ``where`` says where the address was given. ``from_outside``: whether the work can be sent through Ray
    Client, ray://host:10001.
    """
    if address == LOCAL:
        return address
    if address == FOUND:
        address = _found(where)
        where = f"{where} {FOUND}, which is"
    rest = address.removeprefix(CLIENT) if from_outside else address
    if "://" in rest:
        raise BadInput(f"{where} {address}: {_scheme_refused(rest)}; {_way_out(where)}")
    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise BadInput(f"{where} {address}: neither host:port nor auto; {_way_out(where)}")
    try:
        is_ray = _speaks_grpc(host.strip("[]"), int(port))
    except (OSError, UnicodeError) as error:  # UnicodeError: a host's name of impossible letters
        raise BadInput(f"{where} {address}: nobody answers ({error}); {_way_out(where)}") from error
    if not is_ray:
        raise BadInput(f"{where} {address}: answers, but is no Ray (is it the dashboard's port?); {_way_out(where)}")
    return address


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether a gRPC server answers, as Ray's is. Raises OSError if nobody does, or says nothing in time."""
    with socket.create_connection((host, port), timeout=CONNECT_S) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return True  # nothing is said before the handshake
        try:
            connection.sendall(HTTP2_PREFACE)
            first = connection.recv(9)
        except TimeoutError:
            raise
        except OSError:  # closed
            return False
    return len(first) > 3 and first[3] == SETTINGS and not first.startswith(b"HTTP")


def _found(where: str) -> str:
    from ray._private import services  # as `ray.init` looks for it

    running = joinable(services.find_gcs_addresses())
    return choose_found(running, services.find_bootstrap_address(None), where=where)


def joinable(running: Collection[str]) -> set[str]:
    """Without the Rays that runs started for themselves (`run.own_ray`), which are on loopback and join nobody.

    On macOS every Ray is on loopback, so none can be told apart there.
    """
    from ray._private.ray_constants import ENABLE_RAY_CLUSTER

    return {address for address in running if not (ENABLE_RAY_CLUSTER and address.startswith("127."))}


def choose_found(running: Collection[str], recorded: str | None, *, where: str) -> str:
    """The Ray that `auto` means: of the addresses that run here the one that `ray start` recorded, else the only one.

    A recorded one may be in another container. Raises BadInput if there is none or the choice is not clear.
    """
    if recorded is not None and (recorded in running or not running):
        return recorded
    if len(running) == 1:
        return next(iter(running))
    several = f"{len(running)} run here ({', '.join(sorted(running))})" if running else "no Ray runs here"
    raise BadInput(f"{where} {FOUND}: {several}; {_way_out(where)}")


def _scheme_refused(address: str) -> str:
    scheme = address.partition("://")[0]
    if scheme in ("http", "https"):
        return "that is the address of a dashboard, to which `reskd submit --address` sends a job"
    if address.startswith(CLIENT):
        return "a run cannot be steered through Ray Client; start it on the cluster, with `reskd submit`"
    return f"{scheme}:// is no address of Ray"


def _way_out(where: str) -> str:
    without = f", or unset {VARIABLE} to use this machine" if where.startswith(VARIABLE) else ""
    return f"give the address of `ray start --head`, such as host:6379{without}"
