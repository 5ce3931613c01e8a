"""The sockets of a process and of everything that it started, at which somebody may knock."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address

import psutil


def waiting_sockets(pid: int) -> dict[str, bool]:
    """Each socket that waits for connections or datagrams, by program and address -> whether it is on loopback."""
    parent = psutil.Process(pid)
    found = {}
    for process in (parent, *parent.children(recursive=True)):
        try:
            name, connections = process.name(), process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        for one in connections:
            if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr):
                found[f"{name} {one.laddr.ip}:{one.laddr.port}"] = _on_loopback(one.laddr.ip)
    return found


def _on_loopback(ip: str) -> bool:
    address = ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
