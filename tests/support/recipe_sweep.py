"""Small recipes, and a sweep made of them without a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.spec.sweep import Cell, CohortSpec, Resources, Sweep
from reskd.recipe import DataSpec, KDSpec, ModelSpec, OptimSpec, Recipe

DATA = DataSpec(name="toy", crop_size=64, short_side=64, num_frames=4)
OPTIM = OptimSpec(epochs=10, batch_size=16, group_size=4)


def recipe(resolution=24, *, model="tsn_mini10", level="none", teacher=None, optim=OPTIM, data=DATA, seed=0, **kd):
    return Recipe(
        data=data,
        model=ModelSpec(name=model, resolution=resolution),
        kd=KDSpec(level=level, **kd),
        optim=optim,
        teacher=teacher,
        data_seed=seed,
        model_seed=seed,
    )


TEACHER = recipe(64, model="tsn_mini18", optim=replace(OPTIM, epochs=14))
BASELINE = recipe()
CLIP = recipe(level="clip", teacher=TEACHER)
PIXEL = recipe(level="pixel", teacher=TEACHER)


def sweep_of(*cells, cohort=None, resources=None):
    """A sweep of (row, recipe) pairs, each with its own data seed."""
    return Sweep(
        name="test",
        path=Path("test.yaml"),
        question="?",
        cells=tuple(Cell(row=row, seed=recipe.data_seed, recipe=recipe) for row, recipe in cells),
        seeds=(0,),
        resources=resources or Resources(),
        cohort=cohort or CohortSpec(),
        tables={},
        teacher_seed=None,
    )


def manifest_of(data):
    return f"manifest of {data.name} in {data.root}"
