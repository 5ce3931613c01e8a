"""No message, file or command of ours shows the password of a tracking URI, a store or a cluster."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from orchestrator.cli import main as cli
from orchestrator.cli.doctor import environment_findings
from orchestrator.run.cluster.submit import command_of, connect
from orchestrator.run.notify import without_secrets
from orchestrator.run.ray_address import settled_address
from orchestrator.store.open import address_of, store_of
from orchestrator.tracking.database import shown
from orchestrator.tracking.settings import first_line, refuse_files
from orchestrator.tracking.urls import without_login
from reskd.errors import ReskdError
from tests.support.addresses import MARK, uris
from tests.support.command_line import call
from tests.support.ports import free_port
from tests.support.stored_sweep import StoredSweep


def said(path: Callable[[], object]) -> str:
    try:
        return str(path())
    except ReskdError as error:
        return f"{error} {error.args}"


@given(uri=uris())
def test_no_message_about_an_address_shows_its_password(uri: str) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionRefusedError("refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", refuse)  # nothing is sent anywhere
        texts = [
            said(lambda: refuse_files(uri)),
            said(lambda: settled_address(uri, where="RAY_ADDRESS")),
            said(lambda: settled_address(uri, where="--address", from_outside=True)),
            said(lambda: connect(uri)),
            said(lambda: store_of(address_of(uri))),
            shown(uri),
            first_line(RuntimeError(f"no answer from {uri}")),
            *without_secrets(["run", "a.yaml", "--tracking-uri", uri, f"--links={uri}", "--notify", uri]),
        ]
    assert [text for text in texts if MARK in text] == []


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "RAY_ADDRESS", "https_proxy", "RESKD_STORE"])
def test_doctor_shows_no_password_of_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value = f"me:{MARK}@127.0.0.1:{free_port()}" if name == "https_proxy" else f"http://me:{MARK}@127.0.0.1:1"
    monkeypatch.setenv(name, value)
    found = str(environment_findings())
    assert f"{name}=" in found
    assert MARK not in found


@pytest.mark.parametrize("scheme", ["http", "postgresql", "nonsense"])
def test_a_command_shows_and_writes_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scheme: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    stored, address = StoredSweep(tmp_path, seeds=(0,)), f"me:{MARK}@127.0.0.1:{free_port()}"
    stored.finish(stored.id_of("baseline", 0), 0.5)
    store, uri, cluster = ("--store", stored.store.home), f"{scheme}://{address}/x", f"http://{address}"
    commands = [
        ("publish", stored.sweep.path, *store, "--tracking-uri", uri),
        ("tables", stored.sweep.path, *store, "--tracking-uri", uri),
        ("tables", stored.sweep.path, *store, "--links", cluster),
        ("status", "--address", cluster),
        ("submit", stored.sweep.path, *store, "--tracking-uri", uri, "--address", cluster),
        ("plan", stored.sweep.path, "--store", uri),
    ]
    for words in commands:
        _, text = call(monkeypatch, capsys, *words)
        assert text
        assert MARK not in text, words
    written = [path for path in tmp_path.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()]
    assert written == []


def test_a_bug_is_shown_without_passwords(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def break_down() -> None:
        raise TypeError(f"http://me:{MARK}@host is no URI")

    monkeypatch.setattr(cli, "app", break_down)
    code, text = call(monkeypatch, capsys)
    assert code == 1
    assert "TypeError: http://me:***@host is no URI" in text
    assert MARK not in text


def test_a_jobs_command_reads_the_tracking_uri_from_the_upload(tmp_path: Path) -> None:
    command = command_of(["my sweep.yaml"], changes=["seeds=[0, 1]"], store="/s", has_uri=True)
    (tmp_path / ".tracking_uri").write_text("postgresql://me:a$(b)'\"c@host/db")
    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$MLFLOW_TRACKING_URI" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    printed = os.popen(f"cd {shlex.quote(str(tmp_path))} && PATH={shlex.quote(path)}; {command}").read().split("\n")
    assert printed[0] == "postgresql://me:a$(b)'\"c@host/db"
    assert printed[3:-1] == ["run", "my sweep.yaml", "--set", "seeds=[0, 1]", "--store", "/s"]
    assert (tmp_path / ".tracking_uri").stat().st_mode & 0o077 == 0


def test_links_to_a_servers_pages_hold_no_login() -> None:
    assert without_login("https://me:se/cret@host:5000/x") == "https://host:5000/x"
    assert without_login("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
