"""Expands plain values into cells: rows change a base by dotted keys, with one checked Recipe per row and seed."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.spec.identity import is_weights_file
from orchestrator.spec.named_recipes import find
from orchestrator.spec.strict import check, did_you_mean, naming, shown, type_of_field
from reskd.errors import BadInput
from reskd.files import on_disk
from reskd.models.catalogue import MODELS, is_model
from reskd.recipe import Recipe, without_teacher, without_training
from reskd.text import invisible_letter, visible

Flat = dict[str, object]
"""Values by dotted key; the teacher's are ``teacher.<key>``, and ``teacher`` itself is None or {}."""

MAX_ROWS = 10_000
MAX_CELLS = 3 * MAX_ROWS
"""Rows times seeds: what a command checks within seconds."""
DRAWS = "draws"
"""Key in `rows` of the rows that are drawn at random."""
IMPORTED = ("checkpoint", "checkpoint_part")
"""Keys of a model that was trained elsewhere."""
RECIPE = "recipe"
"""Key of the named recipe that a base or a row starts from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row of a sweep with one of its seeds."""

    row: str
    seed: int
    recipe: Recipe


def expand(base: Flat, rows: Sequence[tuple[str, Flat]], *, seeds: Sequence[int]) -> tuple[Cell, ...]:
    """One cell per row and seed, row by row. A seed sets all seeds of its recipe.

    It also sets the teacher's seed, unless `teacher.seed` is given. An imported model has no seed: its row has one
    cell, with the first of the seeds. ``base`` must be checked by ``check_keys``, and ``rows`` come from ``list_rows``.
    Raises BadInput with the row and the field.
    """
    if len(rows) * len(seeds) > MAX_CELLS:
        raise BadInput(
            f"{len(rows)} rows x {len(seeds)} seeds are {len(rows) * len(seeds)} cells, more than {MAX_CELLS}; "
            "make several sweeps of them"
        )
    teacher_seed = base.get("teacher.seed")
    cells = []
    for row, changes in rows:
        with naming(f"row {row!r}"):
            recipe = _recipe(*start_from(base, changes))
        for seed in seeds[:1] if recipe.is_imported else seeds:
            taught_with = teacher_seed if isinstance(teacher_seed, int) else seed
            cells.append(Cell(row=row, seed=seed, recipe=_seeded(recipe, seed, teacher_seed=taught_with)))
    return tuple(cells)


def list_rows(rows: Mapping[str, object]) -> list[tuple[str, Flat]]:
    """(name, changes) of all rows of chain, grid, zip and draws, in the order of the file. Names are unique."""
    makers = {"chain": _chain, "grid": _grid, "zip": _zip, DRAWS: _drawn}
    listed: dict[str, Flat] = {}
    for kind, part in rows.items():
        if kind not in makers:
            raise BadInput(f"{'rows.' + kind!r} is not a way to list rows{did_you_mean(kind, makers, prefix='rows.')}")
        for row, changes in makers[kind](part):
            if len(listed) == MAX_ROWS:
                raise BadInput(f"'rows' lists more than {MAX_ROWS} rows; make several sweeps of them")
            if row in listed:
                raise BadInput(f"two rows are named {row!r}; rename one")
            hidden = invisible_letter(row)
            if hidden is not None:
                raise BadInput(f"the row name '{visible(row)}' holds {hidden}; write it without")
            with naming(f"row {row!r}"):
                listed[row] = check_keys(flatten(changes), is_row=True)
    if not listed:
        raise BadInput("'rows' is empty; give it a chain, a grid or a zip")
    return list(listed.items())


def flatten(tree: Mapping[str, object], *, prefix: str = "") -> Flat:
    """Nested and dotted keys as dotted ones: {"kd": {"level": "clip"}} -> {"kd.level": "clip"}."""
    flat: Flat = {}
    for key, value in tree.items():
        name = prefix + key
        inner: Flat = {name: value}
        if isinstance(value, Mapping) and (value or name != "teacher"):
            inner = flatten(value, prefix=f"{name}.")
        for dotted, leaf in inner.items():
            if dotted in flat:
                raise BadInput(f"{dotted!r} is given twice; keep one")
            flat[dotted] = leaf
    return flat


def merge(base: Flat, changes: Flat) -> Flat:
    """The base with changes. A null teacher or a checkpoint replaces the base's teacher; other fields add to it."""
    replaces_teacher = "teacher.checkpoint" in changes or changes.get("teacher", {}) is None
    kept = {key: value for key, value in base.items() if not (replaces_teacher and _is_teacher(key))}
    return {**kept, **changes}


def start_from(base: Flat, changes: Flat) -> tuple[Flat, Flat]:
    """A row's base and changes, with the named `recipe` of the row (else of the base) below the base's own values."""
    name = changes.get(RECIPE, base.get(RECIPE))
    layers = [] if name is None else [check_keys(flatten(tree)) for tree in find(str(name)).layers]
    whole: Flat = {}
    for layer in (*layers, base):
        whole = merge(whole, layer)
    whole.pop(RECIPE, None)
    return whole, {key: value for key, value in changes.items() if key != RECIPE}


def check_keys(flat: Flat, *, is_row: bool = False) -> Flat:
    """The same values with absolute paths. Raises BadInput for an unknown key or a wrong type."""
    for key, value in flat.items():
        field = key.removeprefix("teacher.")
        if field in ("data_seed", "model_seed") or (key == "teacher.seed" and is_row):
            raise BadInput(f"{key!r} cannot be set here; 'seeds' sets it, or 'teacher.seed' in the base")
        if key == RECIPE:
            find(str(value))
        elif key == "teacher":
            if value or len([other for other in flat if _is_teacher(other)]) > 1:
                raise BadInput(f"'teacher' must be null or a mapping of changes, once; got {shown(value)}")
        elif key == "teacher.seed":
            if check(int, value, name=key) < 0:
                raise BadInput(f"{key!r} must be at least 0, got {value}")
        elif field in IMPORTED and key == field and not is_row:
            raise BadInput(f"{key!r} is for one model; put it into a row, or below 'teacher'")
        elif key == "teacher.checkpoint":
            check(str, value, name=key)
        elif key != field and field.split(".")[0] in ("kd", "teacher"):
            raise BadInput(f"{key!r} is not for a teacher, which is trained without distillation; remove it")
        else:
            check(type_of_field(field, prefix=key.removesuffix(field)), value, name=key)
            if field == "model.name":
                _check_model(str(value), name=key)
    return {key: _absolute(key, value) for key, value in flat.items()}


def _check_model(model: str, *, name: str) -> None:
    if not is_model(model):
        raise BadInput(f"{name!r} is not a model: {model!r}{did_you_mean(model, MODELS)}")


def _absolute(key: str, value: object) -> object:
    """Make weights, checkpoints and data roots absolute, so that a job finds them from any folder, by the names that
    the disk has for them."""
    field = key.removeprefix("teacher.")
    is_path = field in ("data.root", "checkpoint") or (field == "model.weights" and is_weights_file(str(value)))
    if not is_path or not isinstance(value, str):
        return value
    return str(on_disk(Path(os.path.abspath(os.path.expanduser(value)))))


def _is_teacher(key: str) -> bool:
    return key == "teacher" or key.startswith("teacher.")


def _recipe(base: Flat, changes: Flat) -> Recipe:
    """The row's recipe without seeds. Its teacher is the base (not the row) with the teacher's changes."""
    merged = merge(base, changes)
    tree = _nest({key: value for key, value in merged.items() if not _is_teacher(key)})
    taught = {key.removeprefix("teacher."): value for key, value in merged.items() if key.startswith("teacher.")}
    if "checkpoint" in taught and "model.name" not in taught:
        others = sorted(taught.keys() - {"checkpoint"})
        if others:
            raise BadInput(
                f"'teacher.{others[0]}' cannot change a finished 'teacher.checkpoint'; remove it, or, for a file that "
                "was trained elsewhere, give its network: 'teacher.model.name' and 'teacher.model.resolution'"
            )
        tree["teacher"] = taught
    elif taught or merged.get("teacher") == {}:
        plain = {key: value for key, value in base.items() if not _is_teacher(key) and not key.startswith("kd.")}
        tree["teacher"] = _nest({**plain, **{key: value for key, value in taught.items() if key != "seed"}})
        with naming("teacher"):
            _settled(check(Recipe, tree["teacher"]), given=taught, prefix="teacher.")
    recipe: Recipe = check(Recipe, tree)
    if isinstance(recipe.teacher, Recipe) and recipe.teacher.is_imported:
        recipe = replace(recipe, teacher=without_training(recipe.teacher))
    return _settled(recipe, given=changes)


def _settled(recipe: Recipe, *, given: Flat, prefix: str = "") -> Recipe:
    """The recipe without the fields that have no effect on its model.

    Raises BadInput if ``given``, what a row says of an imported model, has one of these fields.
    """
    if not recipe.is_imported:
        return recipe if recipe.has_teacher else without_teacher(recipe)
    settled = without_training(recipe)
    before, after = (flatten(asdict(each)) for each in (recipe, settled))
    for key in given:
        if key == "seed" or (_is_teacher(key) and given[key] is not None) or before.get(key) != after.get(key):
            raise BadInput(f"{prefix + key!r} has no effect on a model from a file, which is not trained; remove it")
    return settled


def _nest(flat: Flat) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def _seeded(recipe: Recipe, seed: int, *, teacher_seed: int) -> Recipe:
    if recipe.is_imported:
        return recipe
    teacher = recipe.teacher
    if isinstance(teacher, Recipe) and not teacher.is_imported:
        teacher = replace(teacher, data_seed=teacher_seed, model_seed=teacher_seed)
    return replace(recipe, data_seed=seed, model_seed=seed, teacher=teacher)


def _chain(part: object) -> list[tuple[str, dict[str, object]]]:
    if not isinstance(part, list) or not part:
        raise BadInput(f"'rows.chain' must be a list of one row or more, got {shown(part)}")
    rows = []
    for index, row in enumerate(part):
        if not isinstance(row, dict):
            raise BadInput(f"'rows.chain[{index}]' must be a mapping, got {shown(row)}")
        changes = {key: value for key, value in row.items() if key != "row"}
        rows.append((_row_name(row.get("row"), where=f"rows.chain[{index}].row"), changes))
    return rows


def _grid(part: object) -> list[tuple[str, dict[str, object]]]:
    axes = _axes(part, kind="grid")
    if "row" in axes:
        raise BadInput("'rows.grid.row' cannot name the rows of a grid; remove it, or use zip")
    num_rows = math.prod(len(values) for values in axes.values())
    if num_rows > MAX_ROWS:
        raise BadInput(f"'rows.grid' has {num_rows} rows, more than {MAX_ROWS}; take values out of an axis")
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [(_point_name(point), point) for point in points]


def _zip(part: object) -> list[tuple[str, dict[str, object]]]:
    axes = _axes(part, kind="zip")
    if len({len(values) for values in axes.values()}) > 1:
        lengths = ", ".join(f"{key} {len(values)}" for key, values in axes.items())
        raise BadInput(f"'rows.zip' needs axes of one length, got {lengths}")
    names = axes.pop("row", None)
    points = [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]
    if names is None:
        return [(_point_name(point), point) for point in points]
    checked = [_row_name(name, where=f"rows.zip.row[{index}]") for index, name in enumerate(names)]
    return list(zip(checked, points or [{} for _ in checked], strict=True))


def _drawn(part: object) -> list[tuple[str, dict[str, object]]]:
    from orchestrator.spec.draws import draw  # imports ray, which takes seconds

    name, points = draw(part)
    return [(f"{name} {number}: {_point_name(point)}", point) for number, point in enumerate(points)]


def _axes(part: object, *, kind: str) -> dict[str, list[object]]:
    if not isinstance(part, dict) or not part:
        raise BadInput(f"'rows.{kind}' must map keys to lists of values, got {shown(part)}")
    axes: dict[str, list[object]] = {}
    for key, values in flatten(part).items():
        if not isinstance(values, list) or not values:
            raise BadInput(f"{f'rows.{kind}.{key}'!r} must be a list of one value or more, got {shown(values)}")
        axes[key] = values
    return axes


def _row_name(name: object, *, where: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"{where!r} must be the row's name as text, in quotes if it is a number, got {shown(name)}")
    return name


def _point_name(point: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in point.items())
