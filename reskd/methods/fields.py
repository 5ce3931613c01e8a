"""How a recipe's field is declared: whether it counts in a step's identity, and what its value must be."""

from __future__ import annotations

from dataclasses import field
from typing import Any, TypeVar

from reskd.errors import BadInput

T = TypeVar("T")


def not_identity(default: T) -> T:
    """A field that says where or how a training runs, never what it gives."""
    result: Any = field(default=default, metadata={"identity": False})
    return result  # type: ignore[no-any-return]


def added(default: T, *, description: str | None = None) -> T:
    """A field that came later: part of identity only where it differs from its default, so that ids stay.

    description: for the JSON schema, of a field that a spec inherits; a spec's own fields have a sentence under them.
    """
    metadata: dict[str, object] = {"added": True}
    if description is not None:
        metadata["description"] = description
    result: Any = field(default=default, metadata=metadata)
    return result  # type: ignore[no-any-return]


def require(holds: bool, what: str, value: object, must: str) -> None:
    """BadInput `<what> must be <must>, got <value>` unless it holds."""
    if not holds:
        raise BadInput(f"{what} must be {must}, got {value!r}")
