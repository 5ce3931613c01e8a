"""`reskd ui`: runs MLflow's own server on the store's database, and prints links to the right pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from urllib.request import ProxyHandler, build_opener

from rich.console import Console

from orchestrator.store.store import Store
from orchestrator.tracking.database import check_uri, uri_of
from orchestrator.tracking.settings import OF_MLFLOW
from orchestrator.tracking.sweep_experiment import published_sweeps
from orchestrator.tracking.urls import WORKFLOW, runs_page
from reskd.errors import BadInput

SETTINGS = {
    # One web worker and no job runner: a twentieth of the memory, and several workers answer slower.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A file in the current folder must not be imported instead of one of the server's packages.
    "PYTHONSAFEPATH": "1",
    # Warnings of its packages are for their authors. Errors are still shown.
    "PYTHONWARNINGS": "ignore",
}
QUIET = "--log-level warning --no-access-log"
POLL_S = 0.2


def serve(store: Store, *, port: int, console: Console) -> int:
    """Run the server until it is stopped, and return its exit code.

    Raises BadInput if there is nothing to show or no port.
    """
    database = store.mlflow_db
    if not database.exists():
        raise BadInput(
            f"{database}: nothing published yet; run a sweep first, `reskd publish` one from a store in S3, "
            f"or give its --store"
        )
    address, uri = f"http://127.0.0.1:{port}", uri_of(store, None)
    check_uri(uri)
    _check_port(port)
    links = [(name, runs_page(experiment_id, base=address)) for name, experiment_id in published_sweeps(store)]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", uri, "--registry-store-uri", uri]
    command += ["--artifacts-destination", store.artifacts.as_uri(), "--uvicorn-opts", QUIET]
    console.print("starting MLflow ...", markup=False)
    # In its own session, so that Ctrl-C reaches only this process, which then ends all of the server's processes.
    server = subprocess.Popen(command, env=server_environment(), start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while server.poll() is None and not answers(address):
            time.sleep(POLL_S)
        if server.poll() is None:
            for name, link in links or [("browse", f"{address}/#/experiments?{WORKFLOW}")]:
                console.print(f"{name}:  {link}", markup=False, soft_wrap=True)
            console.print("stop with Ctrl-C")
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def server_environment() -> dict[str, str]:
    """The server's environment: no variable of another server, such as MLFLOW_STATIC_PREFIX, changes ours."""
    of_servers = (*OF_MLFLOW, "UVICORN_", "GUNICORN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(of_servers)} | SETTINGS


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BadInput(f"port {port} cannot be opened ({error.strerror}); give another with --port") from error


def answers(address: str) -> bool:
    """Whether our MLflow server answers at an address of loopback, which no proxy can reach."""
    try:
        with build_opener(ProxyHandler({})).open(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False
