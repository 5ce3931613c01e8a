"""Converts plain values to dataclasses. pydantic checks them against the annotations; messages are our own."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from reskd.errors import BadInput
from reskd.recipe import Recipe

# The sentence under a field becomes its description in the JSON schema.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
MUST_BE = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "text, in quotes if it looks like something else",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}
"""pydantic's name of an error -> what the value must be."""

field_types: Callable[[Any], dict[str, Any]] = cache(get_type_hints)
"""Cached, since each call of get_type_hints compiles all annotations again."""


def check(kind: Any, tree: object, *, name: str = "") -> Any:
    """Convert plain values from YAML to ``kind``, a dataclass or any annotation. ``name`` is their dotted key.

    Integers are accepted for floats, lists for tuples, and mappings for dataclasses; nothing else is converted. Raises
    BadInput with the deepest wrong value.
    """
    try:
        # As JSON, because strict mode does not accept a list for a tuple in Python objects.
        return _adapter(kind).validate_json(json.dumps(tree))
    except ValidationError as error:
        details = max(error.errors(), key=lambda details: len(details["loc"]))
        raise BadInput(_sentence(kind, details, name)) from error


def json_schema(kind: Any) -> dict[str, Any]:
    """pydantic's JSON schema of the values that `check` accepts for a ``kind``."""
    return _adapter(kind).json_schema()


def type_of_field(key: str, *, prefix: str = "") -> Any:
    """The annotation of a dotted field of Recipe. Raises BadInput if there is no such field.

    ``prefix`` is put before the key in messages.
    """
    kind: Any = Recipe
    parts = key.split(".")
    for depth, part in enumerate(parts):
        before = prefix + "".join(f"{parent}." for parent in parts[:depth])
        if not is_dataclass(kind):
            raise BadInput(f"{before[:-1]!r} is one value and has no field {part!r}; remove it")
        if part not in _names(kind):
            rest = "".join(f".{child}" for child in parts[depth + 1 :])
            raise BadInput(_not_a_field(kind, part, prefix=before, rest=rest))
        kind = field_types(kind)[part]
    return kind


def did_you_mean(value: str, names: Iterable[str], *, prefix: str = "") -> str:
    """A hint for messages: '; did you mean ...?', or the list of names if none is similar."""
    names = list(names)
    nearest = _nearest(value, names)
    return f"; there are {', '.join(names)}" if nearest is None else f"; did you mean {prefix + nearest!r}?"


def shown(value: object) -> str:
    """A value as messages quote it: one line, not too long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Prefix a BadInput raised inside with ``where``, such as a file or a row."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    _set_strict(kind, seen=set())
    return TypeAdapter(kind, config=None if is_dataclass(kind) else STRICT)


def _set_strict(hint: Any, *, seen: set[Any]) -> None:
    """Make the dataclass and all nested ones strict: pydantic reads this setting from each class alone."""
    if is_dataclass(hint) and hint not in seen:
        seen.add(hint)
        hint.__pydantic_config__ = STRICT  # type: ignore[union-attr]
        for inner in field_types(hint).values():
            _set_strict(inner, seen=seen)
    for argument in get_args(hint):
        _set_strict(argument, seen=seen)


def _sentence(kind: Any, details: Any, name: str) -> str:
    """One of pydantic's errors in our words. ``name``: the dotted key of the checked value; ``kind``: its type."""
    error = details["type"]
    if error == "value_error":
        return str(details["ctx"]["error"])  # the dataclass's own check, which names its field
    if error == "json_invalid":  # what json.dumps wrote, so its depth is what is wrong
        return f"{name or 'the file'} is nested too deeply"
    kind, place = _found_in(kind, details["loc"])
    if error == "unexpected_keyword_argument":
        *parents, last = place
        return _not_a_field(kind, str(last), prefix="".join(f"{part}." for part in (name, *parents) if part))
    key = (name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)).removeprefix(".")
    value = shown(details["input"])
    if error == "missing":
        return f"{key!r} is missing"
    if error == "literal_error":
        expected = details["ctx"]["expected"]
        nearest = _nearest(str(details["input"]), expected.split("'")[1::2])
        hint = "" if nearest is None else f"; did you mean {nearest!r}?"
        return f"{key!r} must be {expected}, got {value}{hint}"
    return f"{key!r} must be {MUST_BE.get(error, details['msg'])}, got {value}"


def _found_in(hint: Any, place: Sequence[str | int]) -> tuple[Any, list[str | int]]:
    """The innermost type that holds the last part of pydantic's ``place``, and the place as a person writes it.

    An `X | None` is an X. Inside any other union, pydantic says first which of its types it means: that is left out.
    """
    parts: list[str | int] = []
    owner = hint
    for part in place:
        choices = [kind for kind in get_args(hint) if kind is not NoneType] if _is_union(hint) else [hint]
        if len(choices) > 1:
            hint = next((kind for kind in choices if getattr(kind, "__name__", "") == part), choices[0])
            continue
        owner, parts = choices[0], [*parts, part]
        if is_dataclass(owner):
            hint = field_types(owner).get(str(part))
        else:
            hint = next(iter(get_args(owner)[get_origin(owner) is dict :]), None)
    return owner, parts


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _not_a_field(owner: Any, key: str, *, prefix: str, rest: str = "") -> str:
    """The message that ``key`` is not a field of ``owner``. ``prefix`` and ``rest`` surround it in the whole key."""
    names = _names(owner) + (["seed"] if prefix == "teacher." else [])
    hint = did_you_mean(key, names, prefix=prefix)
    if owner is Recipe and _nearest(key, names) is None:
        # Perhaps the right field without its spec, such as `lr` for `optim.lr`.
        leaves = {name: f"{spec}.{name}" for spec, kind in field_types(Recipe).items() for name in _names(kind)}
        nearest = _nearest(key, leaves)
        hint = hint if nearest is None else f"; did you mean {prefix + leaves[nearest]!r}?"
    return f"{prefix + key + rest!r} is not a field of {owner.__name__}{hint}"


def _nearest(value: str, names: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(value, list(names), n=1)), None)


def _names(kind: Any) -> list[str]:
    return list(field_types(kind)) if is_dataclass(kind) else []
