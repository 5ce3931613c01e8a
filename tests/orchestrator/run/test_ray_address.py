"""Which Ray a process uses, by its environment."""

from __future__ import annotations

import os
import socket

import pytest

from orchestrator.run.ray_address import joins_cluster, refuse_unreachable, without_token
from reskd.errors import BadInput
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"RAY_AUTH_MODE": "disabled"}),
        ({"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_MODE": "token"}),
        ({"RAY_ADDRESS": "head:6379"}, {"RAY_ADDRESS": "head:6379"}),
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
        assert joins_cluster() == ("RAY_ADDRESS" in before)


def test_an_address_where_somebody_listens_or_that_is_a_word_of_rays_is_let_through() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        refuse_unreachable(f"127.0.0.1:{server.getsockname()[1]}", where="--address")
    for address in ("auto", "local", "ray://head:10001"):
        refuse_unreachable(address, where="--address")


def test_an_address_where_nobody_listens_is_refused_by_what_it_was_given_as() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BadInput, match=rf"--address {address}: nobody answers .*`ray start --head`"):
        refuse_unreachable(address, where="--address")
