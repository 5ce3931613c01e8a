"""`reskd ui`: MLflow's own server on the store's database, and the link that opens the right page."""

from __future__ import annotations

import os
import subprocess
import sys

from rich.console import Console

from orchestrator.store import Store
from reskd.errors import BadInput

SETTINGS = {
    # One web worker and no job runner: a twentieth of the memory, and several workers answer slower.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def serve(store: Store, *, port: int, console: Console) -> int:
    """Run the server until it is stopped; its exit code. BadInput when there is nothing to show."""
    if not store.mlflow_db.exists():
        raise BadInput(f"{store.mlflow_db}: nothing published yet; run a sweep first, or give its --store")
    # MLflow opens experiments on an empty page for language models unless the link says otherwise.
    console.print(f"browse:  http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning", markup=False)
    console.print("stop with Ctrl-C")
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{store.mlflow_db}", "--artifacts-destination", str(store.artifacts)]
    try:
        return subprocess.run(command, env={**os.environ, **SETTINGS}, check=False).returncode
    except KeyboardInterrupt:
        return 0
