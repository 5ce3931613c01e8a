"""Makes the smoke form of a sweep: the same rows and tables, small networks, two training steps, generated videos."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from orchestrator.experiment.check_networks import check_models
from orchestrator.experiment.one_schedule import refuse_apart
from orchestrator.spec.expand import IMPORTED, RECIPE, Flat, check_keys, flatten, list_rows, start_from
from orchestrator.spec.identity import is_weights_file
from orchestrator.spec.overrides import apply_changes, split_changes
from orchestrator.spec.steps import build_steps
from orchestrator.spec.strict import check, naming
from orchestrator.spec.sweep import Sweep, SweepFile, load, recipe_to_dict
from orchestrator.spec.yaml_text import read_yaml
from orchestrator.store.store import Store
from reskd.data.formats.smoke import make_smoke
from reskd.models.catalogue import find_network
from reskd.recipe import DataSpec, Recipe

SIZE = 64
"""Side of the crop in pixels. Resolutions and the sizes of frames keep their ratio to the sweep's own crop."""
MIN_RESOLUTION = 16
SEED = 0

SIZES = ("model.resolution", "model.enlarge_to", "data.short_side", "eval.short_side", "eval.crop_size")
"""Fields in pixels, apart from the crop's own side."""

FIXED: Flat = {
    "data.num_frames": 2,
    "data.crop_size": SIZE,
    "data.max_damaged": 0.0,
    "model.weights": "none",
    "optim.epochs": 1,
    "optim.warmup_epochs": 0.0,
    "optim.batch_size": 2,
    "optim.group_size": 2,
    "eval.every": 1,
}
"""Values that replace the sweep's. Four training videos make two training steps."""


def cut_down(paths: Sequence[Path], *, changes: Sequence[str], store: Store) -> list[tuple[Path, Store]]:
    """Write the smoke forms of sweeps into a new folder under ``<store>/smoke``.

    Returns the files and their common store.

    Each file is ``<stem>_smoke.yaml`` beside its data set, so that it cannot be mistaken for the real sweep. Raises
    BadInput for a sweep that `load` refuses, for networks that do not fit together in the smoke form, and for sweeps
    that cannot run in one schedule.
    """
    sweeps = [load(path, changes=changes) for path in paths]
    refuse_apart(sweeps)
    scratch = store.home / "smoke"
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{paths[0].stem}-", dir=scratch))
    return [(_cut_down(sweep, changes=changes, folder=folder), Store(folder / "store")) for sweep in sweeps]


def _cut_down(sweep: Sweep, *, changes: Sequence[str], folder: Path) -> Path:
    path = sweep.path
    with naming(str(path)):
        _refuse_unfit(sweep)
    spec = sweep.cells[0].recipe.data
    data = make_smoke(folder / f"{path.stem}_data", like=spec)
    with naming(str(path)):
        file: SweepFile = check(SweepFile, apply_changes(split_changes(changes), read_yaml(path)))
        small = _small_file(file, name=f"smoke_{spec.name}", data=data, crop_size=spec.crop_size)
    target = folder / f"{path.stem}_smoke.yaml"
    plain = json.loads(json.dumps(small))  # nothing in it twice: YAML would write an alias, which a sweep may not have
    target.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return target


def _refuse_unfit(sweep: Sweep) -> None:
    """Check networks with the real numbers of frames.

    Rows that need weights files, which may be elsewhere, are left out.
    """

    def is_self_made(recipe: Recipe) -> bool:
        teacher = recipe.teacher if recipe.has_teacher else None
        return (
            not recipe.is_imported
            and not is_weights_file(recipe.model.weights)
            and (teacher is None or (isinstance(teacher, Recipe) and is_self_made(teacher)))
        )

    cells = tuple(cell for cell in sweep.cells if is_self_made(cell.recipe))
    steps = build_steps(replace(sweep, cells=cells), manifest_of=lambda spec: spec.name)
    check_models(steps, lambda step: None)


def _small_file(file: SweepFile, *, name: str, data: DataSpec, crop_size: int) -> dict[str, Any]:
    own = check_keys(flatten(file.base))
    base, _ = start_from(own, {})
    where: Flat = {
        "data.name": name,
        "data.root": data.root,
        "data.annotations": data.annotations,
        "data.train": data.train,
        "data.val": data.val,
        "data.classes": data.classes,
        "data.allow_missing": 0.0,
    }
    sizes: Flat = {
        "model.resolution": base.get("model.resolution", crop_size),
        "data.short_side": base.get("data.short_side", DataSpec().short_side),
    }
    rows = [
        {"row": row, **_small(_spelt_out(own, changes), crop_size=crop_size)} for row, changes in list_rows(file.rows)
    ]
    return {
        "question": f"Smoke test, its numbers mean nothing: {file.question.strip()}",
        "base": {**_small({**sizes, **base}, crop_size=crop_size), **FIXED, **where},
        "rows": {"chain": rows},
        "seeds": [SEED],
        "resources": {"workers": 1, "cpus_per_worker": 1, "max_cpus": 2},
        "cohort": {"enabled": file.cohort.enabled, "max_members": file.cohort.max_members},
        "tables": {key: _without_expectations(table) for key, table in file.tables.items()},
    }


def _spelt_out(base: Flat, changes: Flat) -> Flat:
    """A row's changes.

    A row with its own named recipe gets every value, also for its teacher, which is derived from the row.

    A value that the base's recipe sets and the row's recipe does not set returns to its default.
    """
    if RECIPE not in changes:
        return changes
    whole, own = start_from(base, changes)
    taught = {key: value for key, value in whole.items() if key.startswith("teacher.")}
    said = {key.removeprefix("teacher.") for key in start_from(base, {})[0]}
    defaults = flatten(recipe_to_dict(Recipe()))
    plain = {key: value for key, value in defaults.items() if key in said - {"teacher"}}
    plain |= {key: value for key, value in whole.items() if key not in taught}
    shared = {f"teacher.{key}": value for key, value in plain.items() if not key.startswith("kd.")} if taught else {}
    return {**shared, **plain, **taught, **own}


def _without_expectations(table: object) -> object:
    """The table without expectations, since the numbers of a smoke run mean nothing."""
    return {name: value for name, value in table.items() if name != "expect"} if isinstance(table, dict) else table


def _small(flat: Flat, *, crop_size: int) -> Flat:
    """The values without fixed ones, data set and checkpoint, and with small networks and resolutions."""
    small: Flat = {}
    for key, value in flat.items():
        field = key.removeprefix("teacher.")
        if field in FIXED or field in ("data.name", "data.root", "data.annotations", "data.train", "data.val"):
            continue
        if field in ("data.classes", "data.allow_missing", "optim.milestones", "optim.gamma", "seed", *IMPORTED):
            continue
        if field == "model.name":
            network = find_network(str(value))
            assert network is not None, f"{key}: {value!r} went through the sweep's own checks"
            value = network.smoke or value
        elif field == "optim.schedule" and value == "step":
            value = "cosine"  # one epoch has no place for a milestone
        elif field in SIZES and value is not None:
            assert isinstance(value, int)
            value = max(MIN_RESOLUTION, round(value * SIZE / crop_size))
        small[key] = value
    if "checkpoint" in flat:
        small["kd.level"] = "none"  # a model from a file has no teacher, so its stand-in has none
    return small
