"""What a store holds: one line for each step, whichever sweep it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.spec.sweep import recipe_from_dict
from orchestrator.store.store import Store
from reskd.errors import Damaged
from reskd.recipe import Recipe


def contents(store: Store) -> list[dict[str, Any]]:
    """Plain values for each step of the store: model, data, seed, state, epochs, accuracy, when it ended.

    Steps of the same data, seed and network stand together. Raises BadInput for a recipe that this version cannot read.
    """
    rows = [_row_or_damage(store, step_id) for step_id in store.step_ids()]
    return sorted(rows, key=lambda row: (row["data"], row["model"], row["taught"], row["seed"], row["step"]))


def _row_or_damage(store: Store, step_id: str) -> dict[str, Any]:
    try:
        return _row(store, step_id)
    except Damaged as error:
        unknown = {"data": "unknown", "model": "unknown", "taught": "", "metric": ""}
        numbers = {"seed": 0, "epoch": 0, "num_epochs": 0, "accuracy": None, "finished_ms": None}
        return {"step": step_id, **unknown, **numbers, "state": "damaged", "reason": str(error)}


def _row(store: Store, step_id: str) -> dict[str, Any]:
    identity = store.identity(step_id)
    assert identity is not None, f"{store.place(step_id)} is listed by its recipe.json"
    recipe, status = recipe_from_dict(identity["recipe"]), store.status(step_id)
    lines = [] if status.state == "damaged" else store.metrics(step_id)
    metrics: Mapping[str, float] = status.done["metrics"] if status.done else lines[-1]["metrics"] if lines else {}
    split = "test" if status.done else "val"
    return {
        "step": step_id,
        "data": recipe.data.name,
        "model": recipe.model.words,
        "taught": _taught(recipe),
        "seed": recipe.seed,
        "state": "started" if status.state == "absent" else status.state,
        "epoch": lines[-1]["epoch"] if lines else 0,
        "num_epochs": recipe.num_epochs,
        "metric": recipe.eval.metric,
        "accuracy": metrics.get(f"{split}/{recipe.eval.metric}"),
        "finished_ms": status.done["finished_ms"] if status.done else None,
        "reason": status.reason if status.state == "damaged" else None,
    }


def _taught(recipe: Recipe) -> str:
    """`pixel from tsn_resnet152 at 224 px`; `imported`; empty for a training without distillation."""
    if recipe.is_imported:
        return "imported"
    if not recipe.has_teacher:
        return ""
    teacher = recipe.teacher
    return f"{recipe.kd.level} from " + (teacher.model.words if isinstance(teacher, Recipe) else "a file")
