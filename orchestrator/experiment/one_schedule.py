"""Joins several sweeps into one, to plan and run them in one schedule. It refuses sweeps that do not fit together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations, product
from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.spec.steps import Step, name_of
from orchestrator.spec.sweep import Sweep
from reskd.errors import BadInput

MAX_NAME = 120
"""Most bytes in a name made from several names. A file system allows 255, and a time or an extension is added."""


def in_one_schedule(prepared: Sequence[Prepared]) -> Prepared:
    """Make one sweep of several: row names get their sweep's name, each step occurs once, and there are no tables.

    A single sweep is returned unchanged. Raises BadInput if the sweeps cannot share one schedule.
    """
    if len(prepared) == 1:
        return prepared[0]
    refuse_apart([one.sweep for one in prepared])
    _refuse_other_tests(prepared)
    steps: dict[str, Step] = {}
    for one in prepared:
        for step in one.steps.values():
            named = replace(step, cells=tuple((_row(one, row), seed) for row, seed in step.cells))
            known = steps.get(step.id)
            if known is not None and known.cells:  # a row's test at its end goes before a teacher's
                named = replace(known, cells=(*known.cells, *named.cells))
            steps[step.id] = named
    first = prepared[0]
    budgets = [one.sweep.resources.budget_gpu_hours for one in prepared]
    limits = [budget for budget in budgets if budget is not None]
    resources = replace(first.sweep.resources, budget_gpu_hours=sum(limits) if len(limits) == len(budgets) else None)
    cells = [replace(cell, row=_row(one, cell.row)) for one in prepared for cell in one.sweep.cells]
    return Prepared(
        sweep=replace(
            first.sweep,
            name=joined_name([one.sweep.name for one in prepared]),
            path=Path(", ".join(str(one.sweep.path) for one in prepared)),  # for messages alone
            question=f"{len(prepared)} sweeps in one schedule",
            cells=tuple(cells),
            resources=resources,
            tables={},
            auto=None,
            early_stopping=None,
        ),
        store=first.store,
        steps=steps,
        manifests={sha256: manifest for one in prepared for sha256, manifest in one.manifests.items()},
        unseen=tuple(dict.fromkeys(name for one in prepared for name in one.unseen)),
    )


def _row(prepared: Prepared, row: str) -> str:
    return f"{prepared.sweep.name}: {row}"


def joined_name(names: Sequence[str]) -> str:
    """A file name for several sweeps, such as `table1_activitynet+table1_fcvid`; for many: the first and a digest."""
    names = list(dict.fromkeys(names))
    whole = "+".join(names)
    if len(names) == 1 or len(whole.encode()) <= MAX_NAME:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    start = names[0].encode()[: MAX_NAME // 2].decode(errors="ignore")
    return f"{start}+{len(names) - 1}_others-{digest}"


def refuse_same_names(paths: Sequence[Path]) -> None:
    """Raise BadInput for two files with the same name: one would overwrite the tables of the other."""
    files: dict[str, Path] = {}
    for path in paths:
        other = files.setdefault(path.stem, path)
        if other != path:
            raise BadInput(
                f"{other} and {path} are both the sweep {path.stem!r}, so they would share one "
                "folder of tables and one experiment in MLflow; rename one of the files"
            )


def refuse_apart(sweeps: Sequence[Sweep]) -> None:
    """Raise BadInput if the settings of the sweeps do not allow one common schedule."""
    first, *others = sweeps
    if not others:
        return
    for other, part in product(others, ("resources", "cohort")):
        ours, theirs = asdict(getattr(first, part)), asdict(getattr(other, part))
        for name, value in ours.items():
            if theirs[name] != value and name != "budget_gpu_hours":  # budgets are added up
                raise BadInput(
                    f"{other.path}: '{part}.{name}' is {json.dumps(theirs[name])}, and {json.dumps(value)} in "
                    f"{first.path}; one schedule needs one value: set it for all of them with --set "
                    f"{part}.{name}=..., or run the files one by one"
                )
    for one in sweeps:
        if one.early_stopping is not None:
            raise BadInput(
                f"{one.path}: 'early_stopping' may stop a step that another sweep needs with all its epochs; "
                "run this file alone"
            )
        if one.resources.groups_per_pass == "auto":
            raise BadInput(
                f"{one.path}: 'resources.groups_per_pass' is auto. It depends on the sweep's own steps, so other files "
                "would change it; give a number, or run this file alone"
            )


def _refuse_other_tests(prepared: Sequence[Prepared]) -> None:
    """Raise BadInput if two sweeps show the same step in rows, but with different final tests."""
    for first, other in combinations(prepared, 2):
        for step_id in first.possible.keys() & other.possible.keys():
            one, two = first.possible[step_id], other.possible[step_id]
            ours, theirs = one.recipe.test_protocol, two.recipe.test_protocol
            if one.cells and two.cells and ours != theirs:
                raise BadInput(
                    f"{other.sweep.path}: row {name_of(two)!r} and row {name_of(one)!r} of {first.sweep.path} are one "
                    f"training with two different final tests, {theirs.name} and {ours.name}; run "
                    f"the files one by one, and show the other test as a column: test/{theirs.name}/<metric>, after "
                    f"`reskd eval`"
                )
