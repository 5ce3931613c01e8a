"""Rows drawn at random from Ray Tune's own search spaces when a sweep is expanded: each draw is a row with an identity.

::

    rows:
      draws: {name: draw, num: 8, space: {optim.lr: {loguniform: [.003, .3]}, kd.weight: {loguniform: [1, 100]}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.spec.strict import check, did_you_mean, naming, shown
from reskd.errors import BadInput

MAX_DRAWS = 1000
NUM_DIGITS = 3
"""Significant digits of a drawn number: enough for a search, and the same text on every machine."""
NUM_BOUNDS = {"uniform": 2, "loguniform": 2, "quniform": 3, "qloguniform": 3, "randint": 2, "choice": None}
"""Ray Tune's spaces by name, and how many numbers each takes; choice takes a list of values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """`rows.draws` of a sweep file."""

    name: str = "draw"
    """Prefix of the rows' names; number and values follow it."""
    num: int
    seed: int = 0
    """Seed of the draws. The sweep's `seeds` multiply the draws."""
    space: dict[str, Any] = field(default_factory=dict)
    """Recipe key -> {distribution: its arguments}."""

    def __post_init__(self) -> None:
        if not 1 <= self.num <= MAX_DRAWS:
            raise BadInput(f"'rows.draws.num' must be from 1 to {MAX_DRAWS}, got {self.num}")
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"'rows.draws.seed' must be from 0 to {2**32 - 1}, got {self.seed}")
        if not self.space:
            raise BadInput("'rows.draws.space' is empty; give at least one key with its distribution")


def draw(part: object) -> tuple[str, list[dict[str, object]]]:
    """The name of the rows, and the values of each row. A larger `num` keeps the first draws.

    Raises BadInput with the key and the way out.
    """
    draws: Draws = check(Draws, part, name="rows.draws")
    domains = {key: _domain(key, space) for key, space in draws.space.items()}
    rng = np.random.RandomState(draws.seed)
    drawn = [
        {key: _short(domain.sample(random_state=rng)) for key, domain in domains.items()} for _ in range(draws.num)
    ]
    return draws.name, drawn


def _domain(key: str, space: object) -> Any:
    """Ray Tune's search space that a mapping of one entry describes."""
    from ray import tune  # takes seconds

    name = f"rows.draws.space.{key}"
    if not isinstance(space, Mapping) or len(space) != 1:
        raise BadInput(f"{name!r} must be one distribution, such as {{loguniform: [.001, .1]}}, got {shown(space)}")
    ((kind, arguments),) = space.items()
    if kind not in NUM_BOUNDS:
        raise BadInput(f"{name!r}: {kind!r} is not a distribution{did_you_mean(str(kind), NUM_BOUNDS)}")
    if not isinstance(arguments, list) or not arguments:
        raise BadInput(f"'{name}.{kind}' must be a list, got {shown(arguments)}")
    if kind == "choice":
        return tune.choice(arguments)
    num, types = NUM_BOUNDS[kind], (int,) if kind == "randint" else (int, float)
    if len(arguments) != num or not all(isinstance(a, types) and not isinstance(a, bool) for a in arguments):
        must = f"{num} {'whole ' if kind == 'randint' else ''}numbers"
        raise BadInput(f"'{name}.{kind}' must be {must}, got {shown(arguments)}")
    if arguments[0] >= arguments[1] or ("log" in kind and arguments[0] <= 0):
        must = "positive and rising" if "log" in kind else "rising"
        raise BadInput(f"'{name}.{kind}' must have {must} bounds, got {shown(arguments)}")
    with naming(f"'{name}.{kind}'"):
        try:
            return getattr(tune, kind)(*arguments)
        except ValueError as error:  # such as bounds that are no multiples of q
            raise BadInput(str(error)) from error


def _short(value: Any) -> object:
    """A plain value; numbers to NUM_DIGITS significant digits."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    return float(f"{float(value):.{NUM_DIGITS}g}") if isinstance(value, float | np.floating) else value
