"""The values that members of one cohort must share, from their recipes alone. Planning uses it without torch."""

from __future__ import annotations

from collections.abc import Sequence

from reskd.errors import BadInput
from reskd.recipe import Recipe


def shared_fields(recipe: Recipe) -> dict[str, object]:
    """The fields that members of one cohort must share, with their values: data, order, batches and precision."""
    return {
        "data": recipe.data,
        "data_seed": recipe.data_seed,
        "optim.batch_size": recipe.optim.batch_size,
        "optim.group_size": recipe.optim.group_size,
        "optim.last_batch": recipe.optim.last_batch,
        "precision": recipe.precision,
    }


def shared_key(recipe: Recipe) -> tuple[object, ...]:
    """The values of `shared_fields`, without names."""
    return tuple(shared_fields(recipe).values())


def check_shared(recipes: Sequence[Recipe]) -> None:
    """Raise BadInput if these recipes cannot train on the same clips."""
    for recipe in recipes[1:]:
        if shared_key(recipe) != shared_key(recipes[0]):
            raise BadInput(
                f"members of one cohort must share data, data_seed, batch_size, group_size, last_batch and precision: "
                f"{shared_key(recipe)} differs from {shared_key(recipes[0])}"
            )
    modes = {(recipe.kd.teacher_mode, recipe.teacher) for recipe in recipes if recipe.has_teacher}
    if len(modes) > 1:
        raise BadInput(f"members of one cohort must share one teacher and its mode, got {len(modes)} of them")
