"""Declares fields of a recipe: whether they count in a step's identity, and which values are allowed."""

from __future__ import annotations

from dataclasses import field
from typing import Any, TypeVar

from reskd.errors import BadInput

T = TypeVar("T")


def not_identity(default: T) -> T:
    """Declare a field that says where or how a training runs and cannot change its result."""
    result: Any = field(default=default, metadata={"identity": False})
    return result  # type: ignore[no-any-return]


def added(default: T, *, description: str | None = None) -> T:
    """Declare a field that was added later.

    It counts in the identity only if it differs from its default, so old ids stay.

    description: text for the JSON schema, if a spec inherits the field. A spec's own fields have a sentence below them.
    """
    metadata: dict[str, object] = {"added": True}
    if description is not None:
        metadata["description"] = description
    result: Any = field(default=default, metadata=metadata)
    return result  # type: ignore[no-any-return]


def require(holds: bool, what: str, value: object, must: str) -> None:
    """Raise BadInput `<what> must be <must>, got <value>` unless ``holds``."""
    if not holds:
        raise BadInput(f"{what} must be {must}, got {value!r}")
