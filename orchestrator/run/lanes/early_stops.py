"""Which members of a comparable group leave at a rung: ASHA's rule (Li et al. 2018).

Of the results that are there, only the best 1 / reduction_factor go on. The members of one cohort come to a rung
together, so that where a group is one cohort the decision depends on nothing else; of a group in several cohorts the
later ones are also held against the earlier ones' results, which is ASHA's way, and then depends on which came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from orchestrator.spec.early_stopping import EarlyStopping
from orchestrator.spec.steps import Step
from reskd.files import Json

Value = Callable[[str, int], float | None]
"""Step id, epoch -> the metric's value there; None where there is none yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRule:
    """What a job's workers need of a sweep's rule."""

    metric: str
    reduction_factor: int
    groups: Mapping[str, tuple[str, ...]]
    """Member -> the steps that it is held against, itself among them."""
    rungs: Mapping[str, tuple[int, ...]]
    """Member -> the epochs after which it may leave."""


def job_rule(spec: EarlyStopping, members: Sequence[str], steps: Mapping[str, Step]) -> JobRule | None:
    """The rule for one job; None where it is about none of the members.

    Comparable are steps of its rows with the same data settings, one seed and as many epochs. Nobody's
    teacher is ever stopped.
    """
    teachers = {step.teacher_id for step in steps.values()}
    stoppable = {
        step.id: step
        for step in steps.values()
        if step.cells and all(row in spec.rows for row, _ in step.cells) and step.id not in teachers
    }

    def key(step: Step) -> tuple[object, ...]:
        recipe = step.recipe
        return step.payload["manifest_sha256"], recipe.data, recipe.seed, recipe.optim.epochs

    groups = {
        member: tuple(sorted(other.id for other in stoppable.values() if key(other) == key(stoppable[member])))
        for member in members
        if member in stoppable
    }
    if not groups:
        return None
    rungs = {member: spec.rungs(stoppable[member].recipe.optim.epochs) for member in groups}
    return JobRule(metric=spec.metric, reduction_factor=spec.reduction_factor, groups=groups, rungs=rungs)


def leavers(rule: JobRule, epoch: int, members: Iterable[str], *, value: Value) -> dict[str, Json]:
    """Members that leave after this epoch -> why: their value and what it had to reach."""
    value = cache(value)  # members of one group ask for the same results, each a look into the store
    found: dict[str, Json] = {}
    for member in members:
        if epoch not in rule.rungs.get(member, ()):
            continue
        results = [result for other in rule.groups[member] if (result := value(other, epoch)) is not None]
        own = value(member, epoch)
        if own is None:
            continue
        least = cutoff(results, reduction_factor=rule.reduction_factor)
        if own < least:
            found[member] = {
                "reason": f"stopped early after epoch {epoch}: {rule.metric} {own:.3f} is below {least:.3f}, what the "
                f"best of {len(results)} results there reach",
                "epoch": epoch,
                "metric": rule.metric,
                "value": own,
                "cutoff": least,
                "num_results": len(results),
                "group": list(rule.groups[member]),
            }
    return found


def cutoff(results: Sequence[float], *, reduction_factor: int) -> float:
    """What a value must reach to be among the best 1 / reduction_factor: the percentile that Ray Tune's ASHA takes."""
    return float(np.nanpercentile(list(results), (1 - 1 / reduction_factor) * 100))
