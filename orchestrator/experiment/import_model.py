"""Imports a model that was trained elsewhere by hand: it makes the step that a sweep makes of the same file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch

from orchestrator.experiment.bound_sweep import Prepared, bind, check_before_start, find_manifest
from orchestrator.spec.expand import Flat, check_keys, expand, flatten, list_rows
from orchestrator.spec.overrides import apply_changes, split_changes
from orchestrator.spec.steps import Step, checkpoint_sha256
from orchestrator.spec.strict import check, naming
from orchestrator.spec.sweep import SweepFile, load, recipe_to_dict
from orchestrator.spec.yaml_text import read_yaml
from orchestrator.store.code_version import provenance
from orchestrator.store.lease import leases
from orchestrator.store.open import leased_store
from orchestrator.store.store import Store
from reskd.data.annotations import data_root
from reskd.data.formats.rows import read_classes
from reskd.errors import BadInput
from reskd.runtime.workers import Workers
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec

SEED = 0


def prepare_import(path: Path, *, changes: Sequence[str], row: Flat, store: Store) -> tuple[Prepared, Step]:
    """The sweep's base with one row, the import, and that row's step.

    If the sweep has this step, as a row or as a teacher, its own recipe and cells are taken, and with them its final
    test; else the step has no cells. Raises BadInput as a sweep with this row would.
    """
    sweep = load(path, changes=changes)
    with naming(str(path)):
        file: SweepFile = check(SweepFile, apply_changes(split_changes(changes), read_yaml(path)))
        listed = list_rows({"chain": [row]})
        (cell,) = expand(check_keys(flatten(file.base)), listed, seeds=[SEED])
    alone = replace(sweep, cells=(cell,), seeds=(SEED,), tables={}, early_stopping=None, auto=None, further=())
    manifest_of = cache(partial(find_manifest, store=store))  # the videos are looked through once for both
    prepared = bind(alone, store, manifest_of=manifest_of)
    if prepared.unseen:
        raise BadInput(f"{path}: the videos of {prepared.unseen[0]!r} are not here; set data.root or RESKD_DATA")
    (step,) = prepared.steps.values()
    known = bind(sweep, store, manifest_of=manifest_of).possible.get(step.id)
    if known is None:
        return prepared, replace(step, cells=())
    return prepared, replace(step, recipe=known.recipe, cells=known.cells)


def check_class_names(prepared: Prepared, step: Step, path: Path) -> None:
    """Raise BadInput unless the file lists the data set's classes, one name a line, in the data set's order."""
    theirs, ours = read_classes(path), prepared.manifest(step).classes
    if len(theirs) != len(ours):
        raise BadInput(f"--classes {path}: lists {len(theirs)} classes, and the data set has {len(ours)}")
    for number, (name, own) in enumerate(zip(theirs, ours, strict=True)):
        if name != own:
            raise BadInput(
                f"--classes {path}: class {number} is {name!r}, and {own!r} in the data set; "
                f"--set data.classes={path.absolute()} gives the data set this order, for the import and for the sweep"
            )


def import_step(prepared: Prepared, step: Step, *, device: torch.device, loader_workers: int = 0) -> bool:
    """Read the model from its file, test it, and write it as a finished step. False if the store has it already.

    Raises BadInput if the file does not hold the model, or if another process writes this step.
    """
    check_before_start(prepared)
    store = prepared.store
    if store.is_finished(step.id):
        return False
    with leases() as held:
        if not held.take_when_still(store.lease_path(step.id)):
            raise BadInput(f"step {step.id} is being made by {store.lease(step.id) or 'another process'}; wait for it")
        recipe = recipe_to_dict(step.recipe)
        store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe=recipe)
        store.forget_failure(step.id)
        facts = {"full_id": step.full_id, "teacher_id": None, **provenance()}
        failures = fit_cohort(
            [MemberSpec(step.id, step.recipe, facts, checkpoint_sha256(step))],
            manifest=prepared.manifest(step),
            root=data_root(step.recipe.data),
            sink=leased_store(store.address, owner_id=held.owner.id),
            workers=Workers(device=device),
            loader_workers=loader_workers,
        )
    failure = failures[step.id]
    if failure is not None:
        raise BadInput(f"step {step.id}: {failure.reason}")
    return True
