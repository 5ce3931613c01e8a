"""The identity of a step: a canonical payload of everything that can change its result, and the payload's hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from orchestrator.spec.strict import field_types
from reskd.errors import BadInput
from reskd.files import open_file
from reskd.models.catalogue import normalisation_of
from reskd.normalisation import IMAGENET
from reskd.recipe import NAMED_WEIGHTS, RECIPE_VERSION, Recipe, without_training

SHORT_DIGITS = 16
"""Hex digits of a step id in names and tables: 64 bits, so two of a million steps meet once in 4e7 projects."""
ALWAYS = object()
"""Marks a field that always counts, whatever its value."""


UNUSED_BY_IMPORTED = ("optim", "data_seed", "model_seed")
"""Fields of a recipe that change nothing about a model that was trained elsewhere."""


def payload(
    recipe: Recipe,
    *,
    manifest_sha256: str,
    teacher: str | None,
    weights_sha256: str | None = None,
    checkpoint_sha256: str | None = None,
) -> dict[str, Any]:
    """Everything that can change the result of ``recipe``, as plain values. Equal payloads are one step.

    A field is left out if its metadata has ``identity=False``, or has ``added`` (a later addition) and its value is the
    default. ``teacher`` is the full id of the teacher's step, or ``checkpoint:<sha256 of the file>``. Without
    distillation, the teacher and the KD fields are left out. A weights file and an imported checkpoint count by their
    content, ``weights_sha256`` and ``checkpoint_sha256``, not by their paths. Of an imported model, nothing counts that
    only training uses. A normalisation counts by its values; that of an imported model follows from its file, unless
    ``model.normalisation`` says another.
    """
    left_out = {"teacher"} if recipe.has_teacher else {"teacher", "kd"}
    if recipe.is_imported:
        recipe = without_training(recipe)
        left_out.update(UNUSED_BY_IMPORTED)
    plain = _plain_fields(recipe, leave_out=left_out)
    plain["recipe_version"] = RECIPE_VERSION
    plain["manifest_sha256"] = manifest_sha256
    if is_weights_file(recipe.model.weights):
        assert weights_sha256 is not None, f"no hash given for {recipe.model.weights}"
        plain["model"]["weights"] = f"sha256:{weights_sha256}"
    if (normalisation := normalisation_of(recipe.model)) != IMAGENET:  # a later addition, so IMAGENET is left out
        plain["model"]["normalisation"] = [list(values) for values in normalisation]
    if recipe.is_imported:
        assert checkpoint_sha256 is not None, f"no hash given for {recipe.checkpoint}"
        if recipe.model.normalisation != "own":
            plain["model"]["normalisation"] = recipe.model.normalisation
        plain["checkpoint"] = f"sha256:{checkpoint_sha256}"
    if recipe.has_teacher:
        assert teacher is not None, "a recipe with distillation needs its teacher's id"
        plain["teacher"] = teacher
        plain["kd"]["weight"] = float(recipe.kd.effective_weight)
    return plain


def is_weights_file(weights: str) -> bool:
    """Whether a ``model.weights`` is a path; otherwise it is a name that says everything."""
    return weights != "none" and weights not in NAMED_WEIGHTS


def canonical_json(payload: Mapping[str, Any]) -> str:
    """One text for equal payloads: keys sorted, floats by repr, tuples as lists, ASCII only.

    Raises BadInput for what has no stable text: NaN, infinities, sets, callables, any other object.
    """
    _refuse_unstable(payload, where="")
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def step_id(payload: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(payload).encode("ascii")).hexdigest()


def short(step_id: str) -> str:
    """The first 16 hex digits, as folders and tables show them."""
    return step_id[:SHORT_DIGITS]


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes as hex; BadInput if it cannot be read."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); its content is part of a step's identity"
        ) from error


def _plain_fields(spec: Any, *, leave_out: Collection[str] = ()) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, hint, default in _identity_fields(spec.__class__):
        value = getattr(spec, name)
        if name in leave_out or (default is not ALWAYS and value == default):
            continue
        entry = _plain_fields(value) if is_dataclass(value) else _plain_value(value, hint)
        if entry != {}:  # a spec without identity fields would otherwise leave its name behind
            plain[name] = entry
    return plain


@cache
def _identity_fields(kind: type) -> tuple[tuple[str, Any, object], ...]:
    """(name, annotation, value at which it is left out or ALWAYS) of each field that may count."""
    return tuple(
        (field.name, field_types(kind)[field.name], _default(field) if "added" in field.metadata else ALWAYS)
        for field in fields(kind)
        if field.metadata.get("identity", True)
    )


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _plain_value(value: Any, hint: Any) -> Any:
    """Tuples as lists, and 1 as 1.0 where the field is a float: both train the same."""
    if isinstance(value, tuple | list):
        return [_plain_value(item, get_args(hint)[0]) for item in value]
    if type(value) in (int, float) and float in (hint, *get_args(hint)):
        return float(value) + 0.0  # the sum turns -0.0 into 0.0
    return value


def _refuse_unstable(value: object, *, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise BadInput(f"identity: {where or 'payload'} has the key {key!r}; keys must be text")
            _refuse_unstable(item, where=f"{where}.{key}" if where else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_unstable(item, where=f"{where}[{index}]")
    elif type(value) is float:
        if not math.isfinite(value):
            raise BadInput(f"identity: '{where}' must be finite, got {value!r}")
    elif value is not None and type(value) not in (str, int, bool):
        raise BadInput(f"identity: '{where}' has no stable text: {type(value).__name__}; use text or numbers")
