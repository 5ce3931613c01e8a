"""The road of one sweep from the command to the loss: who calls whom, with the room of each.

    python -m benchmarks.road                    # about a minute: trains one student on drawn clips, on a real Ray

Each process of the run records the chain of calls at the place where it hands on: the command starts the jobs, a
job's trial hands it to workers, a worker computes the loss. The three chains, one after the other, are the road.
Exits with 1 when a call on it goes to a room above its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from reskd.data.synthetic import make_demo

ROOT = Path(__file__).parents[1]
HOOK = ROOT / "benchmarks" / "road_hook"
STAGES = {
    "the command, to the jobs": "command",
    "a job's trial, to the workers": "trial",
    "a worker, to the loss": "worker",
}
SWEEP = """\
question: Which calls lead to the loss?
base:
  data: {name: demo, root: DATA, num_frames: 4, short_side: 64, crop_size: 64}
  model: {name: tsn_mini10, resolution: 32}
  optim: {lr: 0.01, epochs: 1, batch_size: 4, group_size: 2}
  teacher: {model.resolution: 64}
rows:
  chain:
    - {row: student, kd.level: clip}
seeds: [0]
resources: {workers: 1}
tables:
  road: {rows: row, columns: [test/top1]}
"""


def layers() -> dict[str, tuple[int, str]]:
    """Room -> how far down it lies, and its layer's names, from the contracts that lint-imports checks."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found: dict[str, tuple[int, str]] = {}
    depth = 0
    for package in ("orchestrator", "reskd"):
        (contract,) = [one for one in contracts if one.get("containers") == [package]]
        for layer in contract["layers"]:
            for name in layer.split(" | "):
                found[f"{package}.{name}"] = (depth, name)
            depth += 1
    return found


def room_of(module: str) -> str:
    """``reskd.training`` of ``reskd.training.fit``."""
    return ".".join(module.split(".")[:2])


def climbs(road: Sequence[tuple[str, str]], depth: Mapping[str, tuple[int, str]]) -> list[str]:
    """The calls of a chain of (module, function) that go to a room above the caller's, in words."""
    return [
        f"{caller[0]}.{caller[1]} calls {callee[0]}.{callee[1]}"
        for caller, callee in pairwise(road)
        if depth[room_of(callee[0])][0] < depth[room_of(caller[0])][0]
    ]


def record(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Run the small sweep with the hook in every process; stage -> its chain of calls, the first call first."""
    (folder / "road.yaml").write_text(SWEEP.replace("DATA", str(folder / "data")))
    variables = {**os.environ, "PYTHONPATH": f"{HOOK}{os.pathsep}{ROOT}", "RESKD_ROAD": str(folder)}
    make_demo(folder / "data", num_train=8, num_val=4)
    command = [sys.executable, "-m", "orchestrator", "run", "road.yaml", "--store", str(folder / "store")]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"reskd run failed:\n{done.stdout}{done.stderr}")
    return {
        stage: [tuple(call) for call in json.loads((folder / f"{stage}.json").read_text())] for stage in STAGES.values()
    }


def main() -> None:
    depth = layers()
    with tempfile.TemporaryDirectory() as folder:
        roads = record(Path(folder))
    wrong: list[str] = []
    for words, stage in STAGES.items():
        print(f"\n{words}")
        for module, function in roads[stage]:
            level, room = depth[room_of(module)]
            print(f"  {level:2}  {room:12} {module}.{function}")
        wrong += climbs(roads[stage], depth)
    files = {module for road in roads.values() for module, _ in road}
    print(f"\n{len(files)} files on the road; {len(wrong)} calls go up")
    for line in wrong:
        print(f"  {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
