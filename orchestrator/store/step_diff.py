"""Finds the differences between two steps of the store, by dotted field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.identity import short
from orchestrator.store.store import Store

ABSENT = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A field with two values; None on a side that does not have the field."""

    field: str
    first: Any
    second: Any
    counts: bool
    """Whether the field is part of a step's identity. Other fields are only recorded."""


def step_differences(store: Store, first: str, second: str) -> list[Difference]:
    """The fields in which two steps differ; fields of identity first. Fields of the teacher begin with `teacher.`."""
    sides = [_fields(store, step_id) for step_id in (first, second)]
    found = []
    for part, counts in enumerate((True, False)):
        one, other = sides[0][part], sides[1][part]
        for field in sorted(one.keys() | other.keys()):
            left, right = one.get(field, ABSENT), other.get(field, ABSENT)
            if left != right and (counts or not any(field in side[0] for side in sides)):
                values = [None if value is ABSENT else value for value in (left, right)]
                found.append(Difference(field=field, first=values[0], second=values[1], counts=counts))
    return found


def _fields(store: Store, step_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(fields of identity, fields that are only recorded)."""
    known = store.identity(step_id)
    assert known is not None, f"{step_id} is not in the store"
    payload = dict(known["payload"])
    recorded = {key: value for key, value in known["recipe"].items() if key != "teacher"}
    if not payload.get("teacher"):
        recorded.pop("kd", None)  # no meaning without a teacher
    teacher = payload.get("teacher")
    if isinstance(teacher, str) and (taught := store.identity(short(teacher))) is not None:
        payload["teacher"] = {"id": short(teacher), **taught["payload"]}
    facts = store.done(step_id) or {}
    recorded |= {key: facts[key] for key in ("commit", "versions", "host", "protocol") if key in facts}
    return dict(_flat(payload)), dict(_flat(recorded))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
