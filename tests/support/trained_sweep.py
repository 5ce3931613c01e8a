"""A small sweep really trained into a store, without Ray: its teacher, then its students in one cohort."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.experiment.build_tables import rebuild
from orchestrator.spec.sweep import recipe_to_dict
from orchestrator.store.code_version import provenance
from orchestrator.store.store import Store
from reskd.data.annotations import data_root
from reskd.data.manifest import Manifest
from reskd.runtime.workers import joined
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec
from tests.support.pool import Pool

SWEEP = """
question: Do more views help?
base:
  data: {name: demo, root: ROOT, num_frames: 4, short_side: 64, crop_size: 64, flip: false}
  model: {name: tsn_mini10, resolution: 24}
  optim: {epochs: 1, batch_size: 16, group_size: 4, lr: 0.05}
  teacher: {model.name: tsn_mini18, model.resolution: 32}
rows:
  chain:
    - {row: baseline, kd.level: none}
    - {row: pixel, kd.level: pixel}
seeds: [0]
tables:
  views: {rows: row, columns: [test/top1, test/val-f4-v2x3/top1], delta_to: baseline}
"""


def train_sweep(folder: Path, videos: Path, *, store: Store | None = None) -> Prepared:
    """`folder`/views.yaml trained into `folder`/store, or into the store that is given."""
    path = folder / "views.yaml"
    path.write_text(SWEEP.replace("ROOT", str(videos)))
    prepared = prepare(path, store=store or Store(folder / "store"))
    for fit in fits(prepared):
        train(fit, prepared.store)
    return prepared


def copy_of(trained: Prepared, folder: Path) -> Prepared:
    """What `train_sweep` left, file and store, in ``folder``, where a test may change it."""
    shutil.copytree(trained.sweep.path.parent, folder, dirs_exist_ok=True)
    return prepare(folder / trained.sweep.path.name, store=Store(folder / "store"))


@dataclass(frozen=True)
class StepFit:
    """What training one step takes, as plain data that can be sent to a worker process."""

    member: MemberSpec
    manifest: Manifest
    root: Path
    teacher_id: str | None


def fits(prepared: Prepared) -> list[StepFit]:
    """The trainings of a sweep's steps, teachers first; the steps' identities are recorded in the store."""
    steps, facts = list(prepared.steps.values()), provenance()
    for step in steps:
        recipe = recipe_to_dict(step.recipe)
        prepared.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe=recipe)
    return [
        StepFit(
            MemberSpec(step.id, step.recipe, {"full_id": step.full_id, "teacher_id": step.teacher_id, **facts}),
            prepared.manifest(step),
            data_root(step.recipe.data),
            step.teacher_id,
        )
        for step in sorted(steps, key=lambda step: step.recipe.has_teacher)
    ]


def train(fit: StepFit, store: Store) -> None:
    """Train one step alone on the workers that this process has joined."""
    fit_cohort(
        [fit.member],
        manifest=fit.manifest,
        root=fit.root,
        sink=store,
        workers=joined(),
        teacher_weights=store.weights(fit.teacher_id) if fit.teacher_id else None,
    )


def train_undisturbed(sweep: Path, home: Path, *, num_workers: int) -> Store:
    """A sweep trained step by step without Ray, and its tables: what a run must come to, whatever happens to it."""
    prepared = prepare(sweep, store=Store(home))
    made = fits(prepared)
    assert num_workers in (1, 2)
    if num_workers == 1:
        torch.set_num_threads(1)
        for fit in made:
            train(fit, prepared.store)
    else:
        pool = Pool()
        try:
            for fit in made:
                pool.run(train, fit, prepared.store)
        finally:
            pool.close()
    console = Console(file=io.StringIO())
    rebuild([prepared], source="store", tracking_uri=None, links=None, check=False, as_json=False, console=console)
    return prepared.store
