"""Small real trainings for the tests: a teacher and a cohort of every KD level on the demo's clips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from reskd.checkpoint import FolderSink, load_weights
from reskd.data.manifest import Manifest
from reskd.files import read_json
from reskd.recipe import DataSpec, EvalSpec, KDLevel, KDSpec, ModelSpec, OptimSpec, Recipe
from reskd.runtime import precision
from reskd.runtime.execution import Execution
from reskd.runtime.workers import Workers, joined
from reskd.throughput.measure import measure_throughput
from reskd.training import validation
from reskd.training.fit import EpochReport, MemberSpec, fit_cohort
from tests.support import faulty_models, small_models

LEVELS: tuple[KDLevel, ...] = ("none", "clip", "frame", "pixel")


def teacher_recipe(data: DataSpec, *, epochs: int = 1) -> Recipe:
    return Recipe(
        data=data,
        model=ModelSpec(name="tsn_mini18", resolution=32),
        optim=OptimSpec(lr=0.05, epochs=epochs, batch_size=8, group_size=2, nesterov=True, schedule="onecycle"),
        eval=EvalSpec(every=5),
        model_seed=7,
    )


def student_recipe(data: DataSpec, level: KDLevel, *, epochs: int = 3) -> Recipe:
    """A student at 24 pixels with dropout, so that a wrong seed anywhere shows in its weights."""
    teacher = teacher_recipe(data)
    return replace(
        teacher,
        model=ModelSpec(name="tsn_mini10", resolution=24, dropout=0.5),
        optim=replace(teacher.optim, epochs=epochs, clip_norm=5.0),
        kd=KDSpec(level=level, weight=20.0 if level == "pixel" else None),
        teacher=None if level == "none" else teacher,
    )


@dataclass(frozen=True)
class Fit:
    """One call of fit_cohort, as plain data that can be sent to a worker process."""

    recipes: dict[str, Recipe]
    manifest: Manifest
    folder: Path
    teacher: Path | None
    groups_per_pass: int = 1
    compile: bool = False
    loader_workers: int = 0
    stop_after: int | None = None
    """Epoch at whose end the process is interrupted."""

    def spread(self, name: str, recipes: dict[str, Recipe]) -> Fit:
        return replace(self, recipes=recipes, folder=self.folder.parent / name)


class Interrupted(Exception):
    pass


def fit(job: Fit, solo: bool = False) -> dict[str, str]:
    """Train; step id -> hash of its final weights and buffers, or the traceback that it left with."""
    torch.set_num_threads(1)
    faulty_models.install()
    small_models.install()
    with pytest.MonkeyPatch.context() as patch:
        # Float16 takes a CPU a hundred times longer; what the loss scale does with what comes out is the same.
        patch.setitem(precision.AUTOCAST, "fp16", torch.bfloat16)
        # The speed that a finished step records is measured on one forward of one clip, not on seven of eight.
        one_forward = partial(measure_throughput, batch_size=1, warmup=0, repeats=1)
        patch.setattr(validation, "measure_throughput", one_forward)
        return _fit(job, solo=solo)


def _fit(job: Fit, *, solo: bool) -> dict[str, str]:
    sink = FolderSink(job.folder)

    def interrupt(report: EpochReport) -> None:
        if solo or joined().is_first:
            with open(job.folder / "trained_epochs", "a") as file:
                file.write(f"{report.epoch} ")
        if report.epoch == job.stop_after:
            raise Interrupted

    try:
        outcome = fit_cohort(
            [MemberSpec(step_id, recipe) for step_id, recipe in job.recipes.items()],
            manifest=job.manifest,
            root=Path(str(next(iter(job.recipes.values())).data.root)),
            sink=sink,
            workers=Workers() if solo else joined(),
            teacher_weights=job.teacher,
            loader_workers=job.loader_workers,
            execution=Execution(groups_per_pass=job.groups_per_pass, compile=job.compile),
            on_epoch_end=interrupt,
        )
    except Interrupted:
        return {}
    if not (solo or joined().is_first):
        return {}
    return {
        step_id: failure.traceback if failure else (read_json(job.folder / step_id / "DONE.json") or {})["state_hash"]
        for step_id, failure in outcome.items()
    }


def assert_agree(one: Fit, other: Fit) -> None:
    """Weights and buffers of all their steps, to the rounding of float64."""
    for step_id in one.recipes:
        weights = [load_weights(run.folder / step_id / "weights.pt")["model"] for run in (one, other)]
        for name, value in weights[0].items():
            torch.testing.assert_close(value, weights[1][name], rtol=1e-9, atol=1e-11)


def shorter(recipe: Recipe, **changes: Any) -> Recipe:
    """In float64 and of one epoch, two steps: where orders of addition differ, they do so by then."""
    return replace(recipe, precision="fp64", optim=replace(recipe.optim, epochs=1), **changes)
