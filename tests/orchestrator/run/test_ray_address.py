"""Which Ray a process uses, by its environment."""

from __future__ import annotations

import socket
import threading

import pytest
from ray._private import ray_constants

from orchestrator.run.ray_address import (
    choose_found,
    cluster_address,
    joinable,
    joins_cluster,
    settled_address,
)
from reskd.errors import BadInput
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", None),
        (" ", None),
        ("local", None),
        ("auto", "auto"),
        (" head:6379\n", "head:6379"),
        ("ray://h:1", "ray://h:1"),
    ],
)
def test_an_empty_address_and_local_mean_a_ray_of_our_own(
    monkeypatch: pytest.MonkeyPatch, value: str, address: str | None
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert cluster_address() == address
    assert joins_cluster() == (address is not None)


def answering(answer: bytes) -> socket.socket:
    """A server on loopback that sends the answer to whoever connects, once, and closes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return server


SETTINGS_OF_A_GRPC_SERVER = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0]) + bytes([0, 5, 0, 0, 64, 0])
"""A SETTINGS frame with one setting (RFC 9113, sections 4.1 and 6.5): length 6, type 4, no flags, stream 0."""


@pytest.mark.parametrize(("start", "where"), [("", "RAY_ADDRESS"), ("ray://", "--address")])
def test_an_address_where_a_grpc_server_answers_is_let_through(start: str, where: str) -> None:
    with answering(SETTINGS_OF_A_GRPC_SERVER) as server:
        address = f"{start}127.0.0.1:{server.getsockname()[1]}"
        assert settled_address(address, where=where, from_outside=where == "--address") == address
    assert settled_address("local", where=where) == "local"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_another_program_that_listens_is_not_taken_for_ray(answer: bytes) -> None:
    with answering(answer) as server, pytest.raises(BadInput, match="answers, but is no Ray"):
        settled_address(f"127.0.0.1:{server.getsockname()[1]}", where="RAY_ADDRESS")


@pytest.mark.parametrize(
    ("running", "recorded", "chosen"),
    [
        (["a:1"], None, "a:1"),
        (["a:1"], "a:1", "a:1"),
        (["a:1"], "ended:1", "a:1"),
        (["a:1", "b:2"], "b:2", "b:2"),
        ([], "in another container:1", "in another container:1"),
        ([], None, "no Ray runs here"),
        (["a:1", "b:2"], None, r"2 run here \(a:1, b:2\)"),
        (["a:1", "b:2"], "ended:1", r"2 run here \(a:1, b:2\)"),
    ],
)
def test_auto_is_the_ray_that_runs_here_if_that_is_clear(running: list[str], recorded: str | None, chosen: str) -> None:
    if " here" in chosen:
        with pytest.raises(BadInput, match=f"RAY_ADDRESS auto: {chosen}; .*unset RAY_ADDRESS"):
            choose_found(running, recorded, where="RAY_ADDRESS")
    else:
        assert choose_found(running, recorded, where="RAY_ADDRESS") == chosen


def test_auto_leaves_out_the_rays_that_runs_keep_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"127.0.0.1:5", "192.0.2.7:6379", "head:1"}
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    assert joinable(running) == {"192.0.2.7:6379", "head:1"}
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # macOS, where every Ray is on loopback
    assert joinable(running) == running


@pytest.mark.parametrize("start", ["", "ray://"])
def test_an_address_where_nobody_listens_is_refused_by_what_it_was_given_as(start: str) -> None:
    address = f"{start}127.0.0.1:{free_port()}"
    with pytest.raises(BadInput, match=rf"--address {address}: nobody answers .*`ray start --head`"):
        settled_address(address, where="--address", from_outside=True)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:8265", "a dashboard, to which `reskd submit --address` sends a job"),
        ("https://head", "a dashboard"),
        ("ray://127.0.0.1:10001", "Ray Client"),
        ("anyscale://cluster", "anyscale:// is no address of Ray"),
        ("127.0.0.1", "neither host:port nor auto"),
        ("head", "neither host:port nor auto"),
        ("head:", "neither host:port nor auto"),
        (":6379", "neither host:port nor auto"),
        ("head:six", "neither host:port nor auto"),
        ("head:99999", "neither host:port nor auto"),
        ("a..b:6379", "nobody answers"),
    ],
)
def test_what_a_run_cannot_join_is_refused_in_one_line_with_the_way_out(address: str, reason: str) -> None:
    with pytest.raises(BadInput) as error:
        settled_address(address, where="RAY_ADDRESS")
    said = str(error.value)
    assert said.startswith(f"RAY_ADDRESS {address}: ")
    assert reason in said
    assert said.endswith("such as host:6379, or unset RAY_ADDRESS to use this machine")
    assert "\n" not in said
