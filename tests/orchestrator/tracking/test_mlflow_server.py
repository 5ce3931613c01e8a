"""Publishing through a real `mlflow server` over http, as a team does, with the server going and coming back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient

from orchestrator.tables.build import records_from_store
from orchestrator.tables.latex_html import table_html
from orchestrator.tables.write_files import write_report
from tests.support.mlflow_runs import publisher_of, run_of
from tests.support.ports import free_port
from tests.support.stored_sweep import MANIFEST, StoredSweep
from tests.support.stored_tables import finish_all, table_of

pytestmark = pytest.mark.server

WAIT_S = 120


class Server:
    """`mlflow server` on a port of loopback, with its own database and artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(self.folder / "log.txt", "a") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + WAIT_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log.txt").read_text()
            assert time.monotonic() < until, "the server did not come up"
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "mlflow")
    server.start()
    yield server
    server.kill()


def test_a_server_gets_the_same_records_report_and_models_as_the_store_has(server: Server, tmp_path: Path) -> None:
    stored = StoredSweep(tmp_path, name="over-http")
    stored.store.write_manifest(MANIFEST)
    finish_all(stored)
    teacher = stored.teacher_of("pixel-level MSE", 0)
    stored.finish(teacher, 0.99)
    for step in stored.steps.values():
        stored.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe={})
    publisher = publisher_of(stored, server.uri)
    assert publisher.publish()
    assert publisher.records() == records_from_store(stored.store, stored.steps)
    write_report([table_of(stored)], stored.store.tables("over-http"))
    assert publisher.log_report(stored.store.tables("over-http"))
    assert publisher.register(publisher.records())

    client = MlflowClient(tracking_uri=server.uri)
    (report,) = client.search_runs([publisher.experiment_id], "tags.`reskd.kind` = 'report'")
    held = {artifact.path for artifact in client.list_artifacts(report.info.run_id)}
    assert {"report.md", "table5.csv", "over-http.yaml"} <= held
    weights = client.download_artifacts(run_of(publisher, teacher).info.run_id, "model/weights.pt", str(tmp_path))
    assert Path(weights).read_bytes() == stored.store.weights(teacher).read_bytes()
    for step_id in (teacher, stored.id_of("baseline", 1)):
        folder = Path(client.download_artifacts(run_of(publisher, step_id).info.run_id, "", str(tmp_path)))
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert files >= {"recipe.yaml", "predictions.csv", "model/MLmodel", "model/weights.pt", "model/recipe.json"}
    assert publisher.experiment_url.startswith(f"{server.uri}/#/experiments/")
    records = publisher.records()
    url = records[stored.id_of("baseline", 1)].url
    assert url.startswith(f"{server.uri}/#/experiments/{publisher.experiment_id}/runs/")
    page = table_html(table_of(stored, records))
    assert f'<a href="{url}" title="MLflow run of seed 1">' in page


def test_what_a_server_missed_while_it_was_gone_it_gets_when_it_is_back(server: Server, tmp_path: Path) -> None:
    stored = StoredSweep(tmp_path, name="outage")
    publisher = publisher_of(stored, server.uri)
    first, second = stored.id_of("baseline", 0), stored.id_of("baseline", 1)
    stored.finish(first, 0.5)
    assert publisher.publish()
    server.kill()
    stored.finish(second, 0.6)
    assert not publisher.publish()
    server.start()
    assert publisher.publish()
    assert publisher.records() == records_from_store(stored.store, stored.steps)
    assert len(publisher.records()) == 2
