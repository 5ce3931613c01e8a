"""Teachers and best students as registered models of MLflow: weights to load by name, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.columns import quantity_of
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep
from orchestrator.store.step_record import NOTE_TAG, ROW, StepRecord, rows_of
from orchestrator.tracking.run_artifacts import MODEL
from orchestrator.tracking.settings import equals

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import RegisteredModel

HOW_TO_LOAD = (
    'Each version is one seed. `mlflow.pyfunc.load_model("models:/{name}@{alias}")` opens it, and its `predict` takes '
    f"paths of videos. Its `weights.pt` is an artifact of its run, under {MODEL}/; a sweep takes it as "
    "`teacher: {{checkpoint: ...}}`."
)
OURS = ("Each version is one seed.", "A version is a seed;")
"""Parts of our descriptions, now and in earlier versions. One with neither was rewritten by a user, and is kept."""
LAST_EPOCH = "No epoch was chosen: the weights are the last epoch's."
CHOICE = (
    "The row was chosen by validation of the last epoch: of the rows with this network and frame size, it has the best "
    "mean {metric} over all seeds. No seed was chosen: every seed is a version. " + LAST_EPOCH
)
STEP_TAG = "reskd.step_id"
LINEAGE = (STEP_TAG, ROW, "reskd.teacher_id", "reskd.data", "reskd.manifest_sha256", "reskd.commit")
"""Tags of the run that are copied to a model version: step, row, teacher, data and code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entered:
    """One version of a registered model: one step, which is one seed."""

    name: str
    step_id: str
    alias: str
    """`seed-0`: alias of the version with that seed, as in `models:/NAME@seed-0`."""
    why: str
    """Why it is in the registry, for the model's page: the same for all versions of a model."""


def choose_models(sweep: Sweep, steps: Mapping[str, Step], records: Mapping[str, StepRecord]) -> tuple[Entered, ...]:
    """Every finished teacher, and for each student network and frame size, the row with the best mean accuracy.

    Only rows with all seeds done are compared, so one lucky seed cannot win. All seeds of a row become versions, so the
    best seed is not selected by its test accuracy.
    """
    done = {step_id for step_id, record in records.items() if record.state == "done"}
    taught_by = {step.teacher_id for step in steps.values()}
    teachers = [step for step in steps.values() if step.id in done and step.id in taught_by]
    chosen = []
    for step in teachers:
        name = _name(sweep, "teacher", step)
        rows = dict.fromkeys(rows_of(other) for other in teachers if _name(sweep, "teacher", other) == name)
        why = f"Teacher of sweep {sweep.name}, row {'; '.join(rows)!r}: frozen while it teaches. {LAST_EPOCH}"
        chosen.append(_entered(name, step, why))
    for row, accuracy, found in _best_rows(sweep, steps, records, done):
        why = f"Row {row!r} of sweep {sweep.name}. {CHOICE.format(metric=accuracy)}"
        chosen += [_entered(_name(sweep, "student", step), step, why) for step in found]
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


def _name(sweep: Sweep, kind: str, step: Step) -> str:
    model = step.recipe.model
    enlarged = "" if model.enlarge_to is None else f"-to{model.enlarge_to}px"
    stride = "" if model.stride is None else f"-stride{model.stride}"
    # No slash and no colon: an alias is written models:/NAME@alias, and timm's networks have a colon.
    return re.sub(r"[/:]", "_", f"{sweep.name}-{kind}-{model.name}-{model.resolution}px{enlarged}{stride}")


def _entered(name: str, step: Step, why: str) -> Entered:
    return Entered(name=name, step_id=step.id, alias=f"seed-{step.recipe.seed}", why=why)


def register(client: MlflowClient, chosen: Iterable[Entered], *, runs: Mapping[str, Run]) -> int:
    """Register missing versions, and point each alias at its step's version. Returns the number of new versions.

    `runs`: step id -> run, with its model among its artifacts. A step without a run is registered the next time.
    """
    num_new = 0
    for entered in chosen:
        run = runs.get(entered.step_id)
        if run is None:
            continue
        model = _described(client, entered)
        held = client.search_model_versions(equals("name", entered.name))
        found = next((version for version in held if version.tags.get(STEP_TAG) == entered.step_id), None)
        if found is None:
            run_id, tags = run.info.run_id, run.data.tags
            found = client.create_model_version(
                entered.name,
                source=f"runs:/{run_id}/{MODEL}",
                run_id=run_id,
                tags={key: tags[key] for key in LINEAGE if key in tags},
                description=tags.get(NOTE_TAG, ""),
            )
            num_new += 1
        if str(model.aliases.get(entered.alias)) != str(found.version):
            client.set_registered_model_alias(entered.name, entered.alias, found.version)
    return num_new


def _described(client: MlflowClient, entered: Entered) -> RegisteredModel:
    """The registered model, which is created if there is none. A user's description is kept; ours follows the row."""
    found = client.search_registered_models(equals("name", entered.name))
    text = f"{entered.why} {HOW_TO_LOAD.format(name=entered.name, alias=entered.alias)}"
    if not found:
        return client.create_registered_model(entered.name, description=text)
    held = found[0].description or ""
    is_ours = not held or any(part in held for part in OURS)
    if is_ours and held.partition(OURS[0])[0].strip() != entered.why:
        client.update_registered_model(entered.name, text)
    return found[0]
