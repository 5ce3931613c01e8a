"""Explains why steps share a job, and which field separates the members of two jobs."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.plan.cohorts import Cohort, common_epochs
from reskd.recipe import Checkpoint, Recipe
from reskd.training.cohort_key import shared_fields

MAX_COMPARED = 20
"""A job is compared with at most this many other jobs."""


def why_together(cohort: Cohort) -> str:
    """What the members share, in words."""
    taught = [member.step.recipe for member in cohort if member.step.recipe.has_teacher]
    if len(cohort) == 1:
        return "alone"
    num_plain = len(cohort) - len(taught)
    if not taught:
        return f"{num_plain} read the same clips"
    plain = f", {num_plain} without a teacher read its clips" if num_plain else ""
    return f"{len(taught)} {'share' if len(taught) > 1 else 'has'} one teacher's pass{plain}"


def why_apart(cohort: Cohort, others: Sequence[Cohort], *, limit: int) -> str:
    """The difference from the most similar other job, in words; empty without other jobs."""
    if not others:
        return ""
    ours = _shared(cohort)
    found: list[tuple[int, str]] = []
    for other in others[:MAX_COMPARED]:
        theirs = _shared(other)
        keys = [key for key in ours if ours[key] != theirs[key] and not _is_free(key, ours, theirs)]
        if keys:
            words = ", ".join(f"{key} {ours[key]} (not {theirs[key]})" for key in keys)
        elif _teaches(cohort, other) or _teaches(other, cohort):
            words = "one of them teaches the other"
        elif not common_epochs((*cohort, *other)):
            words = "no checkpoint of the same epoch"
        elif len(cohort) + len(other) > limit:
            words = f"a job has at most cohort.max_members {limit}"
        elif _has_teacher(cohort) != _has_teacher(other):
            words = "a member without a teacher need not wait for one"
        else:
            words = "cut, so that they run side by side or fit in memory"
        # Teachers and students are never in one job, so any other difference is more useful.
        is_natural = not keys and ("teaches" in words or _has_teacher(cohort) != _has_teacher(other))
        found.append((2 if is_natural else len(keys), words))
    return min(found, key=lambda one: one[0])[1]


def _has_teacher(cohort: Cohort) -> bool:
    return any(member.step.recipe.has_teacher for member in cohort)


def _teaches(cohort: Cohort, other: Cohort) -> bool:
    return bool({member.step.id for member in cohort} & {member.step.teacher_id for member in other})


def _is_free(key: str, ours: dict[str, object], theirs: dict[str, object]) -> bool:
    """Whether the field may differ: members without a teacher fit to any teacher."""
    return key in ("teacher", "kd.teacher_mode") and None in (ours[key], theirs[key])


def _shared(cohort: Cohort) -> dict[str, object]:
    """Field -> value, for the fields that all members of a job share."""
    step = next((member.step for member in cohort if member.step.recipe.has_teacher), cohort[0].step)
    recipe, data = step.recipe, step.recipe.data
    fields = {
        **shared_fields(recipe),
        "data": data.name,
        "teacher": _teacher(recipe, step.teacher_id) if recipe.has_teacher else None,
        "kd.teacher_mode": recipe.kd.teacher_mode if recipe.has_teacher else None,
        "resources.workers": cohort[0].workers,
        **{f"resources.{name}": value for name, value in cohort[0].execution.to_record().items()},
    }
    fields |= {f"data.{name}": getattr(data, name) for name in data.__dataclass_fields__ if name != "name"}
    return fields


def _teacher(recipe: Recipe, teacher_id: str | None) -> str:
    if isinstance(recipe.teacher, Checkpoint):
        return recipe.teacher.checkpoint
    assert recipe.teacher is not None
    return f"{recipe.teacher.model.name}@{recipe.teacher.model.resolution} {(teacher_id or '')[:6]}"
