"""Decides which members leave at a rung, by ASHA's rule (Li et al. 2018).

Only the best 1 / reduction_factor of the results so far continue. The members of a cohort reach a rung together. So if
all comparable steps are in one cohort, the decision is the same each time. If they are in several cohorts, the later
cohorts are also compared with the results of the earlier ones, as in ASHA. Then the decision depends on their order.
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
"""(step id, epoch) -> the metric's value; None if there is none yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRule:
    """The part of a sweep's rule that one job needs."""

    metric: str
    reduction_factor: int
    groups: Mapping[str, tuple[str, ...]]
    """Member -> the steps that it is compared with, including itself."""
    rungs: Mapping[str, tuple[int, ...]]
    """Member -> the epochs after which it may leave."""


def job_rule(spec: EarlyStopping, members: Sequence[str], steps: Mapping[str, Step]) -> JobRule | None:
    """The rule for one job; None if it applies to none of the members.

    Steps are comparable if they belong to the rule's rows and have the same data settings, seed and number of epochs. A
    step that teaches another is never stopped.
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
    """Members that leave after this epoch -> the reason: their value and the value that they needed."""
    value = cache(value)  # members of one group need the same results, and each costs a read of the store
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
    """The value needed to be among the best 1 / reduction_factor: the same percentile as in Ray Tune's ASHA."""
    return float(np.nanpercentile(list(results), (1 - 1 / reduction_factor) * 100))
