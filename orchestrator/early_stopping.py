"""Which members of a comparable group leave at a rung: ASHA's rule (Li et al. 2018), for tuning, never for a table.

A rung is an epoch, grace_epochs * reduction_factor^k. Of the results that are there, only the best 1 / reduction_factor
go on. The members of one cohort come to a rung together, so that where a group is one cohort the decision depends on
nothing else; of a group in several cohorts the later ones are also held against the earlier ones' results, which is
ASHA's way, and then depends on which came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from orchestrator.strict import did_you_mean
from reskd.errors import BadInput
from reskd.files import Json

if TYPE_CHECKING:
    from orchestrator.expand import Cell
    from orchestrator.steps import Step

Value = Callable[[str, int], float | None]
"""Step id, epoch -> the metric's value there; None where there is none yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyStopping:
    """`early_stopping` of a sweep file."""

    rule: Literal["asha"] = "asha"
    metric: Literal["val/top1", "val/top5", "val/mAP"] = "val/top1"
    """What members are compared by; larger is better."""
    grace_epochs: int = 1
    """Before the first rung nobody leaves."""
    reduction_factor: int = 3
    """Of the results at a rung the best 1 / reduction_factor go on; the next rung is so many times later."""
    rows: tuple[str, ...] = ()
    """Rows of the sweep that may be stopped; none named: those of rows.draws."""

    def __post_init__(self) -> None:
        for name, least in (("grace_epochs", 1), ("reduction_factor", 2)):
            if getattr(self, name) < least:
                raise BadInput(f"'early_stopping.{name}' must be at least {least}, got {getattr(self, name)}")

    def rungs(self, num_epochs: int) -> tuple[int, ...]:
        """The epochs before the last at which members are compared."""
        found, epoch = [], self.grace_epochs
        while epoch < num_epochs:
            found.append(epoch)
            epoch *= self.reduction_factor
        return tuple(found)


def check_rows(spec: EarlyStopping, cells: Iterable[Cell], *, drawn: Sequence[str]) -> EarlyStopping:
    """The rule with its rows written out; BadInput where it selects none or asks for a value that no epoch has."""
    cells = list(cells)
    rows = list(dict.fromkeys(cell.row for cell in cells))
    for row in spec.rows:
        if row not in rows:
            raise BadInput(f"'early_stopping.rows' names {row!r}, which is not a row{did_you_mean(row, rows)}")
    chosen = spec.rows or tuple(drawn)
    if not chosen:
        raise BadInput("'early_stopping.rows' names no row and there are no 'rows.draws'; name the rows it may stop")
    for cell in cells:
        every = cell.recipe.eval.every
        unseen = [rung for rung in spec.rungs(cell.recipe.optim.epochs) if rung % every]
        if cell.row in chosen and unseen:
            raise BadInput(
                f"'early_stopping' compares row {cell.row!r} after epoch {unseen[0]}, where it is not validated: "
                f"eval.every is {every}; set it to 1, or 'early_stopping.grace_epochs' to a multiple of it"
            )
    return EarlyStopping(
        rule=spec.rule,
        metric=spec.metric,
        grace_epochs=spec.grace_epochs,
        reduction_factor=spec.reduction_factor,
        rows=chosen,
    )


def job_rule(spec: EarlyStopping, members: Sequence[str], steps: Mapping[str, Step]) -> dict[str, Any] | None:
    """What a job's workers need of the rule, as plain data; None where it is about none of the members.

    Comparable are steps of its rows with one seed, one data set, as many epochs and, with distillation or without, the
    same question: teachers of others are never stopped.
    """
    teachers = {step.teacher_id for step in steps.values()}
    stoppable = {
        step.id: step
        for step in steps.values()
        if step.cells and all(row in spec.rows for row, _ in step.cells) and step.id not in teachers
    }

    def key(step: Step) -> tuple[object, ...]:
        recipe = step.recipe
        return step.payload["manifest_sha256"], recipe.data, recipe.data_seed, recipe.model_seed, recipe.optim.epochs

    groups = {
        member: sorted(other.id for other in stoppable.values() if key(other) == key(stoppable[member]))
        for member in members
        if member in stoppable
    }
    if not groups:
        return None
    rungs = {member: list(spec.rungs(stoppable[member].recipe.optim.epochs)) for member in groups}
    return {"metric": spec.metric, "reduction_factor": spec.reduction_factor, "groups": groups, "rungs": rungs}


def leavers(rule: Mapping[str, Any], epoch: int, members: Iterable[str], *, value: Value) -> dict[str, Json]:
    """Members that leave after this epoch -> why: their value and what it had to reach."""
    found: dict[str, Json] = {}
    for member in members:
        if epoch not in rule["rungs"].get(member, ()):
            continue
        results = [result for other in rule["groups"][member] if (result := value(other, epoch)) is not None]
        own = value(member, epoch)
        if own is None:
            continue
        least = cutoff(results, reduction_factor=rule["reduction_factor"])
        if own < least:
            metric = rule["metric"]
            found[member] = {
                "reason": f"stopped early after epoch {epoch}: {metric} {own:.3f} is below {least:.3f}, what the best "
                f"of {len(results)} results there reach",
                "epoch": epoch,
                "metric": metric,
                "value": own,
                "cutoff": least,
                "num_results": len(results),
                "group": rule["groups"][member],
            }
    return found


def cutoff(results: Sequence[float], *, reduction_factor: int) -> float:
    """What a value must reach to be among the best 1 / reduction_factor: the percentile that Ray Tune's ASHA takes."""
    return float(np.nanpercentile(list(results), (1 - 1 / reduction_factor) * 100))
