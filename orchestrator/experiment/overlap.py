"""Combines the plans of several sweeps, with each step counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.plan import Plan, Verdict
from orchestrator.spec.steps import Step, name_of


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedStep:
    """A step that belongs to several cells or to several sweeps."""

    step_id: str
    name: str
    seed: int
    sweeps: tuple[str, ...]
    cells: tuple[tuple[str, str, int], ...]
    """(sweep, row, seed) of each cell; empty for a teacher that is in no row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """What several sweeps share."""

    num_cells: int
    num_steps: int
    """Number of different steps of all sweeps together."""
    num_asked: int
    """Sum of the numbers of steps of the single sweeps."""
    num_taught: int
    """Number of steps with a teacher."""
    num_teachers: int
    """Number of steps that are teachers, whether or not they are in a row. The remaining steps are baselines."""
    counts: dict[Verdict, int]
    shared: tuple[SharedStep, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return asdict(self)


def overlap_of(sweeps: Sequence[tuple[Prepared, Plan]]) -> Overlap:
    """Return what several sweeps share. Steps with equal ids are one step: one store trains it once."""
    steps: dict[str, Step] = {}
    verdicts: dict[str, Verdict] = {}
    sweeps_of: dict[str, list[str]] = {}
    cells_of: dict[str, list[tuple[str, str, int]]] = {}
    for prepared, plan in sweeps:
        name = str(prepared.sweep.path)
        for step in prepared.steps.values():
            known = steps.setdefault(step.id, step)
            if step.cells and not known.cells:  # a row's name says more than `teacher`
                steps[step.id] = step
            if verdicts.get(step.id, "unneeded") == "unneeded":  # unneeded here, but perhaps not there
                verdicts[step.id] = plan.steps[step.id].verdict
            sweeps_of.setdefault(step.id, []).append(name)
            cells_of.setdefault(step.id, []).extend((name, row, seed) for row, seed in step.cells)
    found = list(verdicts.values())
    return Overlap(
        num_cells=sum(len(plan.cells) for _, plan in sweeps),
        num_steps=len(steps),
        num_asked=sum(len(prepared.steps) for prepared, _ in sweeps),
        num_taught=sum(step.recipe.has_teacher for step in steps.values()),
        num_teachers=len({step.teacher_id for step in steps.values()} & steps.keys()),
        counts={verdict: found.count(verdict) for verdict in sorted(set(found))},
        shared=tuple(
            SharedStep(
                step_id=step.id,
                name=name_of(step),
                seed=step.recipe.seed,
                sweeps=tuple(sweeps_of[step.id]),
                cells=tuple(cells_of[step.id]),
            )
            for step in steps.values()
            if len(sweeps_of[step.id]) > 1 or len(cells_of[step.id]) > 1
        ),
    )
