"""Teachers and best students as registered models of MLflow: weights to load by name, and where they come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.columns import quantity_of
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep
from orchestrator.store.step_record import NOTE_TAG, StepRecord
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FOLDER = "model"
"""Artifact folder of a registered model in its run, with weights.pt and recipe.json."""
HOW_TO_LOAD = (
    f"A version is a seed; its weights.pt and recipe.json are artifacts of its run, under {FOLDER}/. "
    "`reskd.checkpoint.load_weights` reads weights.pt, and a sweep takes it as `teacher: {checkpoint: ...}`."
)
STEP_TAG = "reskd.step_id"
LINEAGE = (STEP_TAG, "reskd.teacher_id", "reskd.data", "reskd.manifest_sha256", "reskd.commit")
"""Tags of the run that are copied to a model version: recipe, teacher, data and code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entered:
    """One version of a registered model: one step, which is one seed."""

    name: str
    step_id: str
    alias: str
    """`seed-0`: alias of the version with that seed, as in `models:/NAME@seed-0`."""
    why: str
    """Why it is in the registry, for the model's page."""


def choose_models(sweep: Sweep, steps: Mapping[str, Step], records: Mapping[str, StepRecord]) -> tuple[Entered, ...]:
    """Every finished teacher, and for each student network and frame size, the row with the best mean accuracy.

    Only rows with all seeds done are compared, so one lucky seed cannot win. All seeds of a row become versions, so the
    best seed is not selected by its test accuracy.
    """
    done = {step_id for step_id, record in records.items() if record.state == "done"}
    chosen = [
        _entered(sweep, "teacher", step, "frozen while it teaches students of this sweep")
        for step in steps.values()
        if step.id in done and any(other.teacher_id == step.id for other in steps.values())
    ]
    for row, accuracy, found in _best_rows(sweep, steps, records, done):
        why = f"row {row!r}: best mean {accuracy} over seeds of this network and frame size"
        chosen += [_entered(sweep, "student", step, why) for step in found]
    return tuple(chosen)


def _best_rows(
    sweep: Sweep, steps: Mapping[str, Step], records: Mapping[str, StepRecord], done: set[str]
) -> Iterable[tuple[str, str, list[Step]]]:
    """(row, metric, its steps) of the best row of each student network and frame size."""
    accuracy = sweep.main_metric
    sign = 1 if quantity_of(accuracy).higher_is_better else -1
    best: dict[str, tuple[float, str, list[Step]]] = {}
    by_cell = {cell: step for step in steps.values() for cell in step.cells}
    for row in dict.fromkeys(cell.row for cell in sweep.cells):
        found = [by_cell[row, seed] for seed in sweep.seeds if (row, seed) in by_cell]
        values = [records[step.id].metrics.get(accuracy) for step in found if step.id in done]
        held = [value for value in values if value is not None]
        if not found or len(held) < len(sweep.seeds) or not found[0].recipe.has_teacher:
            continue
        network = found[0].recipe.model.words
        score = sign * sum(held) / len(held)
        if network not in best or score > best[network][0]:
            best[network] = score, row, found
    return [(row, accuracy, found) for _, row, found in best.values()]


def _entered(sweep: Sweep, kind: str, step: Step, why: str) -> Entered:
    model = step.recipe.model
    enlarged = "" if model.enlarge_to is None else f"-to{model.enlarge_to}px"
    stride = "" if model.stride is None else f"-stride{model.stride}"
    # No slash and no colon: an alias is written models:/NAME@alias, and timm's networks have a colon.
    name = re.sub(r"[/:]", "_", f"{sweep.name}-{kind}-{model.name}-{model.resolution}px{enlarged}{stride}")
    return Entered(name=name, step_id=step.id, alias=f"seed-{step.recipe.seed}", why=why)


def register(client: MlflowClient, chosen: Iterable[Entered], *, runs: Mapping[str, Run], store: Store) -> int:
    """Register missing versions, and point each alias at its step's version. Returns the number of new versions.

    `runs`: step id -> run. A step without a run is skipped and registered the next time.
    """
    num_new = 0
    for entered in chosen:
        run = runs.get(entered.step_id)
        if run is None:
            continue
        held = client.search_model_versions(f"name = '{entered.name}'")
        found = next((version for version in held if version.tags.get(STEP_TAG) == entered.step_id), None)
        if found is None:
            if not held and not client.search_registered_models(f"name = '{entered.name}'"):
                client.create_registered_model(entered.name, description=f"{entered.why}. {HOW_TO_LOAD}")
            run_id = run.info.run_id
            client.log_artifact(run_id, str(store.weights(entered.step_id)), FOLDER)
            client.log_text(run_id, json.dumps(store.identity(entered.step_id), indent=1), f"{FOLDER}/recipe.json")
            tags = run.data.tags
            found = client.create_model_version(
                entered.name,
                source=f"runs:/{run_id}/{FOLDER}",
                run_id=run_id,
                tags={key: tags[key] for key in LINEAGE if key in tags},
                description=tags.get(NOTE_TAG, ""),
            )
            num_new += 1
        if str(client.get_registered_model(entered.name).aliases.get(entered.alias)) != str(found.version):
            client.set_registered_model_alias(entered.name, entered.alias, found.version)
    return num_new
