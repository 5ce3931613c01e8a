"""Which Ray a process uses, by its environment."""

from __future__ import annotations

import os
import socket

import pytest

from orchestrator.run.ray_address import cluster_address, joins_cluster, refuse_address, without_token
from reskd.errors import BadInput
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"RAY_AUTH_MODE": "disabled"}),
        ({"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_MODE": "token"}),
        ({"RAY_ADDRESS": "head:6379"}, {"RAY_ADDRESS": "head:6379"}),
        ({"RAY_ADDRESS": ""}, {"RAY_ADDRESS": "", "RAY_AUTH_MODE": "disabled"}),
    ],
)
def test_only_a_ray_started_here_goes_without_a_token_unless_the_environment_asks_for_one(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str]
) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", dict(before))
        without_token()
        assert os.environ == after
        assert joins_cluster() == bool(before.get("RAY_ADDRESS"))


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


def test_an_address_where_somebody_listens_or_that_is_a_word_of_rays_is_let_through() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refuse_address(f"127.0.0.1:{port}", where="RAY_ADDRESS")
        refuse_address(f"ray://127.0.0.1:{port}", where="--address", from_outside=True)
    for address in ("auto", "local"):
        refuse_address(address, where="--address")


@pytest.mark.parametrize("start", ["", "ray://"])
def test_an_address_where_nobody_listens_is_refused_by_what_it_was_given_as(start: str) -> None:
    address = f"{start}127.0.0.1:{free_port()}"
    with pytest.raises(BadInput, match=rf"--address {address}: nobody answers .*`ray start --head`"):
        refuse_address(address, where="--address", from_outside=True)


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
        refuse_address(address, where="RAY_ADDRESS")
    said = str(error.value)
    assert said.startswith(f"RAY_ADDRESS {address}: ")
    assert reason in said
    assert said.endswith("such as host:6379, or unset RAY_ADDRESS to use this machine")
    assert "\n" not in said
