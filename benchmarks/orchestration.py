"""Measures the overhead of orchestration: one job by `reskd run`, compared with `fit_cohort` alone on the same clips.

    python -m benchmarks.orchestration [--workers 1] [--epochs 8] [--rounds 2]

A sweep of two students and no teacher on the demo's videos (made in a temporary folder). Bare: processes joined by gloo
that call `fit_cohort` with a folder for a sink, which is the loop that a Ray worker runs. Orchestrated: Ray, leases,
the store, MLflow, the board. Steady state is the median of perf/clips_per_s over all epochs but the first of each run;
runs alternate, --rounds of each, and the best of each counts. Besides, where the seconds of `reskd run` go outside of
training, from its own records.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.store.store import Store
from reskd.checkpoint import FolderSink
from reskd.data.synthetic import make_demo
from reskd.runtime.workers import joined
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec

PROGRAM = str(Path(sys.executable).with_name("reskd"))


def sweep_text(options: argparse.Namespace, data: Path) -> str:
    return f"""
question: What does orchestration cost?
base:
  data: {{name: demo, root: "{data}", num_frames: 4, short_side: 64, crop_size: 64, flip: false}}
  model: {{name: tsn_mini10, resolution: 32, weights: none}}
  optim: {{epochs: {options.epochs}, batch_size: 16, group_size: 8}}
  eval: {{every: {options.epochs}}}
rows:
  chain: [{{row: slow, optim.lr: .01}}, {{row: fast, optim.lr: .05}}]
seeds: [0]
resources: {{workers: {options.workers}, cpus_per_worker: 1, max_cpus: {options.workers}}}
"""


def bare(rank: int, sweep: Path, folder: Path, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if options.workers > 1:
        address = f"file://{folder / 'rendezvous'}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=options.workers)
    prepared = prepare(sweep, store=Store(folder / "manifests"))
    steps = list(prepared.steps.values())
    fit_cohort(
        [MemberSpec(step.id, step.recipe) for step in steps],
        manifest=prepared.manifest(steps[0]),
        root=Path(str(steps[0].recipe.data.root)),
        sink=FolderSink(folder / "runs"),
        workers=joined(),
    )


def speeds(runs: Path) -> Iterator[float]:
    """perf/clips_per_s of each epoch after the first, of the first step there."""
    path = sorted(runs.glob("*/metrics.jsonl"))[0]
    for line in path.read_text().splitlines()[1:]:
        yield json.loads(line)["metrics"]["perf/clips_per_s"]


def seconds_outside(store: Path, started_ms: float, ended_ms: float) -> tuple[float, float, float]:
    """From the command to the first step, of training and tests, and from there to the command's end."""
    done = [json.loads(path.read_text()) for path in store.glob("runs/*/DONE.json")]
    first, last = min(record["started_ms"] for record in done), max(record["finished_ms"] for record in done)
    return (first - started_ms) / 1000, (last - first) / 1000, (ended_ms - last) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, choices=[1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    alone: list[float] = []
    orchestrated: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_demo(folder / "videos", seed=0)
        sweep = folder / "orchestration.yaml"
        sweep.write_text(sweep_text(options, folder / "videos"))
        for number in range(options.rounds):
            place = folder / f"bare{number}"
            place.mkdir()
            mp.spawn(bare, args=(sweep, place, options), nprocs=options.workers)  # type: ignore[attr-defined]
            alone.append(statistics.median(speeds(place / "runs")))
            store = folder / f"store{number}"
            started_ms = 1000 * time.time()
            command = [PROGRAM, "run", str(sweep), "--store", str(store)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "200"})
            orchestrated.append(statistics.median(speeds(store / "runs")))
            before, within, after = seconds_outside(store, started_ms, 1000 * time.time())
            print(
                f"round {number}: bare {alone[-1]:.1f} clips/s, orchestrated {orchestrated[-1]:.1f}; of `reskd run` "
                f"{before:.1f} s before the first step, {within:.1f} s of training and tests, {after:.1f} s after",
                flush=True,
            )
    print(f"orchestrated / bare: {max(orchestrated) / max(alone):.3f} ({options.workers} workers, best of each)")


if __name__ == "__main__":
    main()
