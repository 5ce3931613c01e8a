"""Submitting a sweep: what is refused before anything is sent, and one real cluster with tokens."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
import requests

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.run.cluster.check import find_fault, worker_nodes
from orchestrator.run.cluster.shared_paths import refuse_relative_paths, refuse_relative_store
from orchestrator.run.cluster.submit import JobLine, command_of, connect, submit
from orchestrator.run.launch import cluster_capacity
from orchestrator.spec.sweep import Resources
from orchestrator.store.open import store_at
from orchestrator.store.store import Store
from reskd.errors import BadInput
from tests.support.ports import free_port
from tests.support.trained_sweep import train_undisturbed

SWEEP = """
question: Does it run there?
base:
  data: {name: demo, root: ROOT, num_frames: 4, short_side: 64, crop_size: 64, flip: false}
  model: {name: tsn_mini10, resolution: 24}
  kd: {level: none}
  optim: {lr: .05, epochs: 1, batch_size: 16, group_size: 8}
rows: {chain: [{row: plain}]}
seeds: [0]
resources: {max_cpus: 1}
tables: {one: {rows: row, columns: [test/top1]}}
"""

WAIT_S = 240
NUM_EPOCHS = 100
"""Epochs of the job that is cancelled: it still trains after its log was left and followed again."""


def write_sweep(folder: Path, root: str) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(SWEEP.replace("ROOT", root))
    return path


def test_a_dead_address_is_one_line_that_names_it() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(BadInput, match=f"--address {address}: nobody answers") as caught:
        connect(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["localhost:8265", "ray://host:10001", "http://", "http://host:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(BadInput, match="--address"):
        connect(address)


@pytest.mark.parametrize(("code", "says"), [(401, "RAY_AUTH_MODE=token"), (404, "not as Ray's dashboard")])
def test_a_server_that_refuses_or_is_another_program_is_one_line(code: int, says: str) -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(BadInput, match=says) as caught:
            connect(f"http://127.0.0.1:{server.server_port}")
        assert "\n" not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("root", "store", "says"),
    [("data/demo", "/shared", "data.root"), ("/shared/demo", "store", "--store store"), ("[", "/shared", "tiny.yaml")],
)
def test_what_a_cluster_cannot_use_is_refused_before_it_is_asked(
    tmp_path: Path, root: str, store: str, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        submit([write_sweep(tmp_path, root)], address="http://127.0.0.1:1", store=store, tracking_uri=None)


def test_a_change_mends_a_relative_root_or_makes_one(tmp_path: Path) -> None:
    refuse_relative_paths(write_sweep(tmp_path, "data/demo"), ["data.root=/shared/demo"])
    path = write_sweep(tmp_path, "/shared/demo")
    path.write_text(path.read_text().replace("{row: plain}", "{row: plain, data.root: here}"))
    with pytest.raises(BadInput, match=r"'rows.chain.data.root' is 'here'"):
        refuse_relative_paths(path, [])


def test_a_store_on_a_cluster_is_named_and_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESKD_STORE", raising=False)
    refuse_relative_store("/shared/reskd")
    refuse_relative_store("s3://bucket/reskd")
    with pytest.raises(BadInput, match="no store is named"):
        refuse_relative_store(None)
    monkeypatch.setenv("RESKD_STORE", "store")
    with pytest.raises(BadInput, match="--store store"):
        refuse_relative_store(None)


def test_the_command_survives_a_shell() -> None:
    command = command_of(["my sweep.yaml"], changes=["seeds=[0, 1]"], store="/s", has_uri=False)
    assert shlex.split(command)[3:] == ["run", "my sweep.yaml", "--set", "seeds=[0, 1]", "--store", "/s"]


def test_files_of_one_name_are_not_sent_together(tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(write_sweep(tmp_path / name, "/shared/demo"))
    with pytest.raises(BadInput, match="both the sweep 'tiny'"):
        submit(paths, address=f"http://127.0.0.1:{free_port()}", store="/shared/reskd", tracking_uri=None)


def test_a_job_is_of_each_of_its_sweep_files() -> None:
    job = JobLine(id="a", status="RUNNING", sweep="my sweep.yaml, other.yaml", started="", exit_code=None)
    assert job.is_of("my sweep.yaml")
    assert job.is_of("other.yaml")
    assert not job.is_of("sweep.yaml")


def test_a_folder_that_is_not_shared_or_not_there_is_a_fault(tmp_path: Path) -> None:
    address = str(tmp_path)
    (tmp_path / "note").write_text("note")
    assert find_fault(address, "note", [address]) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note"]
    assert "not shared" in str(find_fault(address, "other", []))
    (tmp_path / "other").write_text("note")
    assert "another folder" in str(find_fault(address, "other", []))
    assert "data.root /nowhere" in str(find_fault(address, "note", ["/nowhere"]))


def test_a_bucket_is_seen_without_the_heads_cache(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = store_at(s3_url)
    head.blobs.write("note", b"note")
    monkeypatch.setenv("RESKD_CACHE", str(tmp_path / "of-a-worker-node"))
    assert find_fault(s3_url, "note", [str(tmp_path)]) is None
    assert not (tmp_path / "of-a-worker-node").exists()
    assert "data.root /nowhere" in str(find_fault(s3_url, "note", ["/nowhere"]))
    assert "not shared" in str(find_fault(f"{s3_url}-other", "note", []))
    head.blobs.delete(["note"])
    assert "not shared" in str(find_fault(s3_url, "note", []))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "cannot read and write" in str(find_fault(s3_url, "note", []))


def test_the_head_and_dead_nodes_are_no_worker_nodes() -> None:
    nodes = [
        {"NodeID": "a", "Alive": True, "Resources": {"node:__internal_head__": 1.0}},
        {"NodeID": "b", "Alive": False, "Resources": {}},
        {"NodeID": "c", "Alive": True, "Resources": {"CPU": 1.0}},
    ]
    assert worker_nodes(nodes) == ["c"]


def test_declared_gpus_admit_jobs_while_no_node_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    asleep = cluster_capacity(Resources(max_gpus=8), {"memory": 1.0})
    assert (asleep.cpus, asleep.gpus) == (math.inf, 8)
    present = cluster_capacity(Resources(), {"CPU": 4.0, "GPU": 2.0})
    assert (present.cpus, present.gpus) == (4, 2)


def test_a_bucket_is_a_store_that_a_cluster_can_use(tmp_path: Path) -> None:
    """It is refused for the address that nobody answers at, not for the store."""
    path, dead = write_sweep(tmp_path, "/shared/demo"), f"http://127.0.0.1:{free_port()}"
    with pytest.raises(BadInput, match="nobody answers"):
        submit([path], address=dead, store="s3://bucket/reskd", tracking_uri=None)


@dataclass(frozen=True)
class Cluster:
    address: str
    environment: dict[str, str]

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {Path(self.environment['RAY_AUTH_TOKEN_PATH']).read_text()}"}

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("reskd")), *words, "--address", self.address]

    def reskd(self, *words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head with a token on loopback, in a process group of its own that is killed at the end."""
    tmp_path = tmp_path_factory.mktemp("cluster")
    token = tmp_path / "auth_token"
    token.write_text(secrets.token_hex(32))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "RESKD_"))}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    port, dashboard = free_port(), free_port()
    words = f"start --head --block --node-ip-address 127.0.0.1 --port {port} --dashboard-port {dashboard} --num-cpus 2"
    ports = f"--dashboard-agent-listen-port {free_port()} --ray-client-server-port {free_port()}"
    with open(tmp_path / "ray.log", "w") as log:
        head = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), *words.split(), *ports.split(), "--disable-usage-stats"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        _wait_for(head, address, token.read_text(), tmp_path / "ray.log")
        yield Cluster(address, environment)
    finally:
        own = psutil.Process(head.pid).children(recursive=True)
        head.terminate()
        _, alive = psutil.wait_procs(own, timeout=15)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.kill()
        head.wait()


def _wait_for(head: subprocess.Popen[bytes], address: str, token: str, log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        try:
            headers = {"Authorization": f"Bearer {token}"}
            if requests.get(f"{address}/api/version", headers=headers, timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.5)


@pytest.mark.ray
def test_a_sweep_is_submitted_from_another_folder_and_a_second_time_trains_nothing(
    cluster: Cluster, tmp_path: Path, demo_root: Path
) -> None:
    elsewhere, store = tmp_path / "elsewhere", tmp_path / "store"
    elsewhere.mkdir()
    sweep = write_sweep(elsewhere, str(demo_root))

    refused = cluster.reskd("submit", sweep.name, folder=elsewhere, RAY_AUTH_MODE="disabled")
    assert refused.returncode == 2
    assert "RAY_AUTH_MODE=token" in refused.stderr
    assert "Traceback" not in refused.stderr

    nowhere = cluster.reskd("submit", sweep.name, "--store", str(store), "--set", "data.root=/none", folder=elsewhere)
    assert nowhere.returncode == 2, nowhere.stdout + nowhere.stderr  # the job's own exit code

    first = cluster.reskd("submit", sweep.name, "--store", str(store), folder=elsewhere)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "1 job to run" in first.stdout or "1 step" in first.stdout
    assert (store / "tables" / "tiny" / "one.md").is_file()
    assert "1 of 1 steps done" in first.stdout
    assert "browse:  reskd ui --store" in first.stdout  # what the reader of the log types, no file of Ray's session
    written = [path.stat().st_mtime_ns for path in store.glob("runs/*/DONE.json")]
    assert len(written) == 1

    runs = tmp_path / "runs.db"
    uri = ["--tracking-uri", f"sqlite:///{runs}"]
    second = cluster.reskd("submit", sweep.name, "--store", str(store), *uri, folder=elsewhere)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "0 jobs to run" in second.stdout
    assert runs.is_file()
    shown = requests.get(f"{cluster.address}/api/jobs/", headers=cluster.bearer(), timeout=20).text
    assert str(store) in shown
    assert str(runs) not in shown  # the URI may hold a password
    assert [path.stat().st_mtime_ns for path in store.glob("runs/*/DONE.json")] == written
    listed = cluster.reskd("status", sweep.name, folder=elsewhere)
    assert listed.stdout.count("succeeded") == 2
    assert listed.stdout.count("failed") == 1


@pytest.mark.ray
def test_a_job_goes_on_without_its_terminal_and_a_cancelled_one_resumes_to_the_same_result(
    cluster: Cluster, tmp_path: Path, demo_root: Path
) -> None:
    sweep = write_sweep(tmp_path, str(demo_root))
    sweep.write_text(sweep.read_text().replace("epochs: 1,", f"epochs: {NUM_EPOCHS},"))
    store = Store(tmp_path / "store")
    (step_id,) = prepare(sweep, store=store).steps
    arguments = ["submit", sweep.name, "--store", str(store.home)]

    terminal = subprocess.Popen(
        cluster.command(*arguments),
        cwd=tmp_path,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: len(store.epochs(step_id)) > 1)
    terminal.send_signal(signal.SIGINT)
    said, _ = terminal.communicate(timeout=60)
    assert terminal.returncode == 3, said
    assert "goes on without this terminal" in said
    assert "1 jobs to run" in said, "the log was not followed"
    (job,) = re.findall(r"^job (\S+) on ", said, re.M)
    assert f"follow it again: reskd logs {job} --address {cluster.address}" in said

    epoch = max(store.epochs(step_id))
    wait_until(lambda: max(store.epochs(step_id)) > epoch)  # so Ctrl-C did not reach the job
    again = subprocess.Popen(
        cluster.command("logs", job),
        cwd=tmp_path,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    cancelled = cluster.reskd("cancel", job, folder=tmp_path)
    assert f"job {job}: stopped" in cancelled.stdout, cancelled.stdout + cancelled.stderr
    followed, _ = again.communicate(timeout=60)
    assert again.returncode == 3, followed  # the code of a job that somebody stopped
    assert "1 jobs to run" in followed
    assert not store.is_finished(step_id), "the job ended before it could be cancelled"
    kept = store.metrics(step_id)
    assert kept

    second = cluster.reskd(*arguments, folder=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    lines = store.metrics(step_id)
    assert lines[: len(kept)] == kept, "epochs before the cancellation were trained again"
    assert [line["epoch"] for line in lines] == list(range(1, NUM_EPOCHS + 1))

    undisturbed = train_undisturbed(sweep, tmp_path / "undisturbed", num_workers=1)
    ours, theirs = store.done(step_id), undisturbed.done(step_id)
    assert ours is not None
    assert theirs is not None
    assert ours["state_hash"] == theirs["state_hash"]
    # clips/s is no column of this sweep, so both tables hold the same bytes
    assert (store.tables("tiny") / "one.md").read_bytes() == (undisturbed.tables("tiny") / "one.md").read_bytes()


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)
