"""`reskd ui`, a real server on a store's database."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from rich.console import Console

from orchestrator.store.store import Store
from orchestrator.tracking.publish import Publisher
from orchestrator.tracking.ui import serve, server_environment
from reskd.errors import BadInput
from tests.support.open_sockets import waiting_sockets
from tests.support.ports import free_port
from tests.support.stored_sweep import StoredSweep


def ask(port: int, page: str, data: bytes | None = None, **headers: str) -> int:
    """The HTTP code with which the server answers."""
    headers["Content-Type"] = "application/json"
    request = Request(f"http://127.0.0.1:{port}/{page}", data=data, headers=headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


@pytest.mark.server
def test_the_link_of_each_sweep_comes_last_and_the_server_ends_with_us(tmp_path: Path):
    stored, port = StoredSweep(tmp_path), free_port()
    Publisher(stored.store, sweep=stored.sweep, steps=stored.steps, tracking_uri=None)
    (tmp_path / "click.py").write_text("raise SystemExit('a file of the folder that a person is in')")
    program = "from orchestrator.cli.main import main; main()"
    command = [sys.executable, "-P", "-c", program, "ui", "--store", str(stored.store.home)]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("stop with"):
            break
    pages = "api/2.0/mlflow/experiments/search?max_results=1"
    answers = {
        "a forwarded port": ask(port, pages, Host="localhost:9000"),
        "a name that was pointed here": ask(port, pages, Host="evil.example"),
        "another page's script": ask(port, "api/2.0/mlflow/experiments/create", b"{}", Origin="http://evil.example"),
    }
    assert all(waiting_sockets(process.pid).values())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert list(answers.values()) == [200, 403, 403], answers
    assert lines[-2].startswith(f"levels:  http://127.0.0.1:{port}/#/experiments/"), lines
    assert not [line for line in lines if "Warning" in line]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0  # nothing listens any more


def test_a_port_in_use_and_a_store_without_anything_published_are_bad_input(tmp_path: Path):
    console, store = Console(file=io.StringIO()), Store(tmp_path)
    with pytest.raises(BadInput, match="nothing published yet"):
        serve(store, port=free_port(), console=console)
    store.mlflow_db.touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port} cannot be opened"):
            serve(store, port=port, console=console)


def test_variables_of_another_server_do_not_change_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {
        "MLFLOW_STATIC_PREFIX": "/mlflow",
        "MLFLOW_WORKERS": "4",
        "MLFLOW_GUNICORN_OPTS": "--timeout 60",
        "_MLFLOW_SERVER_FILE_STORE": "sqlite:////elsewhere.db",
        "UVICORN_ROOT_PATH": "/mlflow",
    }
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates")  # not a server's alone
    environment = server_environment()
    assert not theirs.keys() & environment.keys()
    assert environment["SSL_CERT_FILE"] == "/certificates"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
