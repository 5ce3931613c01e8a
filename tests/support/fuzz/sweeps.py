"""Sweep files: those of the project and one with every section, and what may be made of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from orchestrator.experiment.bound_sweep import check_steps, prepare
from orchestrator.store.open import store_at
from tests.support.fuzz.lists import special
from tests.support.fuzz.mutate import Mutator, places

SWEEPS = Path(__file__).parents[3] / "sweeps"
EVERYTHING = """
question: Does every section count?
base:
  data: {name: demo, root: data/demo, num_frames: 4, short_side: 64, crop_size: 64, crop_scales: [1, .875], flip: false}
  model: {name: tsn_mini10, resolution: 32, weights: imagenet_v1, dropout: 0}
  kd: {level: pixel, weight: 10, temperature: 2}
  optim: {lr: .05, schedule: step, milestones: [2, 3], gamma: .1, epochs: 4, batch_size: 16, group_size: 4}
  eval: {every: 1, metric: top1, views: 2x3, short_side: 72, crop_size: 72}
  precision: fp32
  teacher: {model: {name: tsn_mini18, resolution: 64}, optim.epochs: 5, seed: 3}
rows:
  chain:
    - {row: baseline, kd.level: none}
    - {row: taught}
  grid: {kd.weight: [1, 5], model.resolution: [24, 32]}
  zip: {row: [low, high], model.resolution: [16, 48]}
  draws: {name: draw, num: 3, seed: 1, space: {optim.lr: {loguniform: [.003, .3]}, kd.weight: {choice: [1, 2]}}}
seeds: {auto: {compare: [taught, baseline], column: test/top1, start: 3, limit: 6}}
resources: {workers: 2, cpus_per_worker: 1, max_cpus: 2, max_gpus: null, loader_workers: 0, groups_per_pass: auto,
            compile: false, deterministic: true, device: cpu, budget_gpu_hours: 1000}
cohort: {enabled: true, max_members: 4, split: true}
early_stopping: {rule: asha, metric: val/top1, grace_epochs: 1, reduction_factor: 2, rows: [low]}
tables:
  all: {title: All, rows: row, columns: [test/top1, test/val-f4-v2x3/mAP, GMACs], delta_to: baseline, main_row: taught,
        published: table5, published_rows: {taught: pixel-level MSE}, plot: [learning_curves, class_gain], peers: true,
        expect: {taught: {test/top1: {low: 10, high: 90, within: 5, delta_low: -3}}}}
"""
MORE = {"teacher.checkpoint": "t.pt", "checkpoint": "c.pth", "checkpoint_part": "student", "recipe": "kd_pixel"}


@cache
def sources() -> dict[str, str]:
    """Sweep files by name."""
    return {"everything": EVERYTHING, **{path.stem: path.read_text(encoding="utf-8") for path in SWEEPS.glob("*.yaml")}}


@cache
def keys() -> list[str]:
    """Keys and texts that stand anywhere in the sources."""
    trees = [yaml.safe_load(text) for text in sources().values()]
    found = {key for tree in trees for place in places(tree) for key in place if isinstance(key, str)}
    return sorted({*found, *MORE, *MORE.values(), "kd.level", "teacher.model.resolution", "a.b.c", ".", "row", "auto"})


def write_mutated(random: Random, folder: Path) -> Path:
    """Write a sweep file with something wrong in it."""
    mutator, path = Mutator(random), folder / "mutated.yaml"
    text = sources()[random.choice(sorted(sources()))]
    if random.random() < 0.01:
        special(path, random)
    else:
        path.write_bytes(mutated(text, mutator))
    return path


def warm_up(folder: Path) -> None:
    """Plan a valid sweep, so that torch and Ray are loaded before an input is timed."""
    path = folder / "valid.yaml"
    path.write_text(EVERYTHING, encoding="utf-8")
    planned(path)


def planned(path: Path) -> str:
    """What `reskd plan` makes of the file."""
    prepared = prepare(path, store=store_at(str(path.parent / "store")))
    found = f"{len(prepared.sweep.cells)} cells, {len(prepared.steps)} steps"
    models = {step.recipe.model.name for step in prepared.steps.values()}
    if not all(name.startswith("tsn_mini") for name in models):
        return found  # a first plan of a large network takes seconds, in which torch makes its layers
    check_steps(prepared)
    return f"{found}, {len(prepared.plan().jobs)} jobs"


def mutated(text: str, mutator: Mutator) -> bytes:
    random = mutator.random
    if random.random() < 0.6:
        tree: Any = mutator.tree(yaml.safe_load(text), keys=keys())
        style = random.choice((None, True, False))
        text = yaml.safe_dump(tree, allow_unicode=random.random() < 0.5, default_flow_style=style, sort_keys=False)
        if random.random() < 0.9:
            return text.encode("utf-8", "surrogatepass")
    elif random.random() < 0.8:
        text = mutator.text(text)
    return mutator.content(text) if random.random() < 0.2 else text.encode("utf-8", "surrogatepass")
