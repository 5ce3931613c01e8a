"""Turns cells into steps. A step is one training; its id is the hash of everything that can change its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.spec.identity import canonical_json, file_sha256, is_weights_file, payload, short, step_id
from orchestrator.spec.strict import naming
from orchestrator.spec.sweep import Cell, Sweep
from reskd.errors import BadInput
from reskd.files import Json
from reskd.recipe import DataSpec, Recipe
from reskd.runtime.execution import Execution


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The training of one model, or the import of one that was trained elsewhere. Several cells may share it."""

    id: str
    """First 16 hex digits of full_id."""
    full_id: str
    recipe: Recipe
    payload: dict[str, Any]
    teacher_id: str | None = None
    """The step that trains its teacher."""
    teacher_checkpoint: str | None = None
    """The file of the teacher's weights, if no step trains it."""
    cells: tuple[tuple[str, int], ...] = ()
    """(row, seed) of the cells that show it; empty for a teacher without a row."""


def name_of(step: Step) -> str:
    """The first row that shows a step; without a row, a name such as `teacher tsn_resnet152 at 224 px`."""
    return step.cells[0][0] if step.cells else f"teacher {step.recipe.model.words}"


def name_and_seed(step: Step) -> str:
    """`pixel-level MSE, seed 0`: a step as a person knows it; an imported model has no seed."""
    return f"{name_of(step)}, imported" if step.recipe.is_imported else f"{name_of(step)}, seed {step.recipe.seed}"


def checkpoint_sha256(step: Step) -> str | None:
    """Hash of the file that an imported model is taken from; None for a model that is trained here."""
    known: str | None = step.payload.get("checkpoint")
    return None if known is None else known.removeprefix("sha256:")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepStatus:
    """The state of a step in the store."""

    state: Literal["absent", "done", "failed", "pruned", "held", "damaged"] = "absent"
    epochs: tuple[int, ...] = ()
    """Epochs with a checkpoint in the store."""
    workers: int | None = None
    """Workers at its first start; a resume needs the same number."""
    execution: Execution | None = None
    """Execution settings at its first start; a resume uses them."""
    holder: str | None = None
    reason: str | None = None
    """Why it failed, or was stopped early; which file is damaged, and the way out."""
    done: Json | None = None
    """Its DONE record, once it is done."""

    @property
    def protocol(self) -> str | None:
        """Name of the protocol of its final test; None if it is not done."""
        return None if self.done is None else self.done.get("protocol")


def build_steps(sweep: Sweep, *, manifest_of: Callable[[DataSpec], str]) -> dict[str, Step]:
    """The steps of a sweep by id, each teacher before its students. Equal recipes are one step.

    ``manifest_of`` returns the sha256 of a data set's manifest; it is called once for each data set. If a row and a
    teacher are the same step, the row's final test is used. Raises BadInput for a weights file or checkpoint that
    cannot be read, and for rows that are one step but have different final tests.
    """
    builder = StepBuilder(manifest_of)
    for cell in sweep.cells:
        known = builder.add(cell.recipe)
        if known.cells:
            with naming(str(sweep.path)):
                _refuse_other_test(known, cell)
        else:
            known = replace(known, recipe=replace(known.recipe, eval=cell.recipe.eval))
        builder.steps[known.id] = replace(known, cells=(*known.cells, (cell.row, cell.seed)))
    return builder.steps


def _refuse_other_test(known: Step, cell: Cell) -> None:
    ours, theirs = known.recipe.test_protocol, cell.recipe.test_protocol
    if ours != theirs:
        raise BadInput(
            f"rows {name_of(known)!r} and {cell.row!r} are one training with two different final "
            f"tests, {ours.name} and {theirs.name}; keep one of them, and show the other "
            f"test as a column: test/{theirs.name}/<metric>, after `reskd eval`"
        )


def steps_of(steps: Mapping[str, Step], cells: Iterable[Cell]) -> dict[str, Step]:
    """The steps of these cells and their teachers, in the order of ``steps``."""
    asked = {(cell.row, cell.seed) for cell in cells}
    kept = {step.id: tuple(cell for cell in step.cells if cell in asked) for step in steps.values()}
    teachers = {step.teacher_id for step in steps.values() if kept[step.id]}
    return {
        step.id: replace(step, cells=kept[step.id]) for step in steps.values() if kept[step.id] or step.id in teachers
    }


@dataclass
class StepBuilder:
    """Steps made so far, and the hashes they rest on."""

    manifest_of: Callable[[DataSpec], str]
    steps: dict[str, Step] = field(default_factory=dict)

    manifests: dict[tuple[str | None, ...], str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    teachers: dict[Recipe, str] = field(default_factory=dict)
    """Ids of the teachers' steps, each shared by many students."""

    def add(self, recipe: Recipe) -> Step:
        """The step of a recipe. It and its teacher's step are made if they do not exist."""
        teacher_id = checkpoint = teacher = None
        source = recipe.teacher if recipe.has_teacher else None
        if isinstance(source, Recipe):
            known_teacher = self.steps.get(self.teachers.get(source, ""))
            teacher_step = known_teacher or self.add(source)
            self.teachers[source] = teacher_step.id
            teacher_id, teacher = teacher_step.id, teacher_step.full_id
        elif source is not None:
            checkpoint = source.checkpoint
            teacher = f"checkpoint:{self._hash(checkpoint)}"
        weights = recipe.model.weights
        content = payload(
            recipe,
            manifest_sha256=self._manifest(recipe.data),
            teacher=teacher,
            weights_sha256=self._hash(weights) if is_weights_file(weights) else None,
            checkpoint_sha256=None if recipe.checkpoint is None else self._hash(recipe.checkpoint),
        )
        full_id = step_id(content)
        made = Step(
            id=short(full_id),
            full_id=full_id,
            recipe=recipe,
            payload=content,
            teacher_id=teacher_id,
            teacher_checkpoint=checkpoint,
        )
        known = self.steps.setdefault(made.id, made)
        if known is not made and canonical_json(known.payload) != canonical_json(content):
            raise BadInput(
                f"step {made.id}: two different recipes have this id; raise RECIPE_VERSION in reskd/recipe.py"
            )
        return known

    def _manifest(self, data: DataSpec) -> str:
        # Only these fields decide the manifest, so a grid over frames or crops needs one manifest.
        key = (data.name, data.root, data.annotations, data.train, data.val, data.classes, str(data.allow_missing))
        if key not in self.manifests:
            self.manifests[key] = self.manifest_of(data)
        return self.manifests[key]

    def _hash(self, path: str) -> str:
        if path not in self.hashes:
            self.hashes[path] = file_sha256(Path(path))
        return self.hashes[path]
