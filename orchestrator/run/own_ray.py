"""A Ray of this process's own: only this machine reaches it, and only with the token of this one run."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # of a compiled module

from orchestrator.run.ray_address import LOCAL, VARIABLE

LOOPBACK = "127.0.0.1"
MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


@contextmanager
def own_ray(**options: Any) -> Iterator[Any]:
    """Start a Ray on this machine with the options of `ray.init`, and end it. Yields what `ray.init` returns.

    All its sockets listen on loopback. Whoever connects needs a random token, which only the environment of the run's
    own processes holds: another user of this machine cannot read it, and it ends with the run.
    """
    with _loopback_alone(), _token_of_its_own():
        try:
            yield ray.init(address=LOCAL, dashboard_host=LOOPBACK, **options)
        finally:
            ray.shutdown()


@contextmanager
def _loopback_alone() -> Iterator[None]:
    """Let Ray take loopback for this machine's address, as it does on macOS; it refuses it as an option."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _variables({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0", VARIABLE: None}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _token_of_its_own() -> Iterator[None]:
    """A token whatever the user's environment says, since theirs is the token of a cluster."""
    with _variables({MODE: "token", TOKEN: secrets.token_hex(32), TOKEN_FILE: None}):
        _read_again()
        yield
    _read_again()


def _read_again() -> None:
    """Let Ray read the environment again, which it does only while it is loaded."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def token_file() -> Iterator[Path]:
    """The token in a file that only this user can read, for the one who opens the dashboard in a browser."""
    folder = Path(tempfile.mkdtemp(prefix="reskd-token-"))  # mkdtemp gives rights to nobody else
    try:
        path = folder / "token"
        path.write_text(os.environ[TOKEN], encoding="utf-8")
        path.chmod(0o600)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _variables(wanted: dict[str, str | None]) -> Iterator[None]:
    """Variables of the environment for a while; None: unset."""
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
