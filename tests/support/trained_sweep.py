"""A small sweep really trained into a store, without Ray: its teacher, then its students in one cohort."""

from __future__ import annotations

from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.spec.sweep import recipe_to_dict
from orchestrator.store.store import Store
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec

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
    steps = list(prepared.steps.values())
    for step in steps:
        recipe = recipe_to_dict(step.recipe)
        prepared.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe=recipe)
    teachers = {step.teacher_id for step in steps if step.teacher_id}
    for taught in (False, True):
        members = [step for step in steps if step.recipe.has_teacher == taught]
        teacher = prepared.store.weights(teachers.copy().pop()) if taught else None
        for step in members:
            fit_cohort(
                [MemberSpec(step.id, step.recipe)],
                manifest=prepared.manifest(step),
                root=videos,
                sink=prepared.store,
                teacher_weights=teacher,
            )
    return prepared
