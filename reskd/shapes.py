"""Checks a value of JSON against the shape that its reader needs. A shape is a type hint; of an object, a TypedDict."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

_hints = functools.cache(functools.partial(get_type_hints, include_extras=True))


def misfit(value: object, shape: Any, *, name: str = "") -> str | None:
    """The first part of the value that does not have the shape, in words; None: all of it has.

    Shapes are Any, None, str, bool, int, float, list[...], dict[str, ...], unions of them and TypedDicts. A whole
    number is a float too. Members that a TypedDict does not name are ignored. ``name``: the dotted name of the value.
    """
    if shape is Any:
        return None
    if is_typeddict(shape):
        return _of_members(value, shape, name)
    origin, arguments = get_origin(shape), get_args(shape)
    if origin in (Union, types.UnionType):
        wrong = [misfit(value, each, name=name) for each in arguments]
        return None if None in wrong else wrong[0]
    if origin is NotRequired:
        return misfit(value, arguments[0], name=name)
    kind: Any = type(None) if shape is None else origin or shape
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        return f"{name or 'the content'} is of type {type(value).__name__}, not {kind.__name__}"
    inner: Iterable[tuple[object, object]] = ()
    if arguments and isinstance(value, list):
        inner = enumerate(value)
    elif arguments and isinstance(value, dict):
        inner = value.items()
    return next(filter(None, (misfit(item, arguments[-1], name=_inside(name, key)) for key, item in inner)), None)


def _of_members(value: object, shape: Any, name: str) -> str | None:
    if not isinstance(value, dict):
        return f"{name or 'the content'} is of type {type(value).__name__}, not dict"
    for key, hint in _hints(shape).items():
        if key in value:
            wrong = misfit(value[key], hint, name=_inside(name, key))
        else:
            wrong = None if get_origin(hint) is NotRequired else f"{_inside(name, key)} is missing"
        if wrong:
            return wrong
    return None


def _inside(name: str, key: object) -> str:
    return f"{name}.{key}".removeprefix(".")
