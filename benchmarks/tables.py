"""Seconds of `reskd tables` from 10 to 10,000 runs: from the store, from MLflow's database and from a server over http.

    python benchmarks/tables.py [--cells 10 100 1000 10000] [--folder F] [--sources store mlflow http]

A sweep of ResNet-50 students of ResNet-152 with three seeds a row and one table of all rows, and a store that holds
what their trainings would have left (figures drawn at random): a few epochs of metrics, an evaluation, a record.
`reskd publish` writes it to MLflow, which takes minutes for 10,000 runs; with --folder both are kept there and used
again. Each figure is of a whole command in a process of its own, imports included: wall seconds and CPU seconds; over
http the server's CPU seconds are not in it. The server is that of `reskd ui`.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.store.store import Store
from orchestrator.tracking.ui import answers
from reskd.data.manifest import Clip, Manifest

NUM_SEEDS = 3
NUM_EPOCHS = 3
STARTED_MS = 1_700_000_000_000
PROGRAM = str(Path(sys.executable).with_name("reskd"))
SERVER_S = 120


def sweep_text(num_cells: int) -> str:
    rows = [f"    - {{row: weight {number}, kd.weight: {number}}}" for number in range(1, num_cells // NUM_SEEDS + 1)]
    return "\n".join(
        [
            "question: How long does a table of so many runs take?",
            "base:",
            "  data: {name: activitynet, annotations: activitynet}",
            "  model: {name: tsn_resnet50, resolution: 112}",
            "  kd: {level: pixel}",
            f"  optim: {{epochs: {NUM_EPOCHS}}}",
            "  teacher: {model.name: tsn_resnet152, model.resolution: 224}",
            "rows:",
            "  chain:",
            *rows,
            f"seeds: {list(range(NUM_SEEDS))}",
            "tables:",
            "  all: {title: All weights, rows: row, columns: [test/mAP, GMACs, clips/s], delta_to: weight 1}",
            "",
        ]
    )


def write_runs(sweep: Path, folder: Path) -> None:
    """What the trainings of the sweep would have left in the store of this folder."""
    store = Store(folder)
    clips = tuple(Clip(f"v_{number}.mp4", 1000, f"{number:064x}", (number % 2,)) for number in range(100))
    store.write_manifest(Manifest("activitynet", ("a", "b"), clips, clips[:10]))
    draw = random.Random(0)
    for step in prepare(sweep, store=store).steps.values():
        info = {"workers": 1, "threads": 8, "started_ms": STARTED_MS, "host": "node-0"}
        store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe={})
        store.start(step.id, info, afresh=True)
        accuracy = draw.gauss(0.7, 0.05)
        for epoch in range(1, NUM_EPOCHS + 1):
            metrics = {"train/loss": 1 / epoch, "train/kd_loss": 1 / epoch, "train/task_loss": 1 / epoch}
            speeds = {"perf/clips_per_s": 50.0, "perf/step_ms": 9.0, "perf/teacher_ms": 5.0}
            store.save(step.id, epoch, {}, metrics | speeds | {"val/mAP": accuracy * epoch / NUM_EPOCHS})
        judged = {"mAP": accuracy, "top1": accuracy, "top5": 0.9}
        protocol = "val-f16-v1x1"
        record = {"protocol": {}, "metrics": judged, "num_clips": 4926, "num_skipped": 0}
        store.write_evaluation(step.id, protocol, record, {"logits": np.zeros((1, 2))})
        store.write_throughput(step.id, {"device": "H100", "clips_per_s": draw.gauss(400, 5)})
        done = {
            "step_id": step.id,
            "metrics": {f"test/{name}": value for name, value in judged.items()},
            "protocol": protocol,
            "complexity": {"gmacs": 16.5, "gmacs_layers": 16.4, "gflops": 32.8, "num_params": 23_900_000},
            "epochs": NUM_EPOCHS,
            "damaged": [],
            "versions": {"torch": "2.14.1"},
            "commit": "0" * 40,
            "host": "node-0",
            "started_ms": STARTED_MS,
            "finished_ms": STARTED_MS + 3_600_000,
        }
        store.finish(step.id, {}, done)


def timed(*arguments: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command; RuntimeError with what it said where it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def server(store: str) -> Iterator[str]:
    """`reskd ui` on a free port; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + SERVER_S
    process = subprocess.Popen(
        [PROGRAM, "ui", "--port", str(port), "--store", store], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not answers(address):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no server on {address}")
            time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def measure(num_cells: int, folder: Path, sources: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sweep, store = folder / f"cells{num_cells}.yaml", str(folder / "store")
    os.environ["RESKD_DATA"] = str(folder / "no videos")
    if not sweep.exists():
        draft = folder / "draft" / sweep.name
        draft.parent.mkdir(exist_ok=True)
        draft.write_text(sweep_text(num_cells))
        write_runs(draft, folder / "store")
        draft.rename(sweep)  # only of a store that is whole
    common = ("tables", str(sweep), "--store", store, "--json")
    if "store" in sources:
        report(num_cells, "store", timed(*common, "--from", "store"))
    if {"mlflow", "http"} & set(sources):
        report(num_cells, "publish, what is missing", timed("publish", str(sweep), "--store", store))
    if "mlflow" in sources:
        report(num_cells, "MLflow's database", timed(*common))
    if "http" in sources:
        with server(store) as address:
            report(num_cells, "MLflow over http", timed(*common, "--tracking-uri", address))


def report(num_cells: int, source: str, seconds: tuple[float, float]) -> None:
    print(f"| {num_cells:,} | {source} | {seconds[0]:.1f} | {seconds[1]:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--folder", type=Path, help="where stores are made and kept; a temporary one otherwise")
    parser.add_argument(
        "--sources", nargs="+", choices=["store", "mlflow", "http"], default=["store", "mlflow", "http"]
    )
    options = parser.parse_args()
    print("| cells | from | wall s | CPU s |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for num_cells in options.cells:
            measure(num_cells, (options.folder or Path(temporary)) / f"{num_cells}", options.sources)


if __name__ == "__main__":
    main()
