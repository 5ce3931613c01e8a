"""`early_stopping` of a sweep file: for tuning, never for a table. `rungs.py` holds the rule itself.

A rung is an epoch, grace_epochs * reduction_factor^k, at which comparable members are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.spec.expand import Cell
from orchestrator.spec.strict import did_you_mean
from reskd.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyStopping:
    """`early_stopping` of a sweep file."""

    rule: Literal["asha"] = "asha"
    metric: Literal["val/top1", "val/top5", "val/mAP"] = "val/top1"
    """Metric of the comparison; larger is better."""
    grace_epochs: int = 1
    """Epoch of the first rung. No member is stopped before it."""
    reduction_factor: int = 3
    """The best 1 / reduction_factor of the results at a rung continue. The next rung is this many times later."""
    rows: tuple[str, ...] = ()
    """Rows of the sweep that may be stopped. Empty: those of rows.draws."""

    def __post_init__(self) -> None:
        for name, least in (("grace_epochs", 1), ("reduction_factor", 2)):
            if getattr(self, name) < least:
                raise BadInput(f"'early_stopping.{name}' must be at least {least}, got {getattr(self, name)}")

    def rungs(self, num_epochs: int) -> tuple[int, ...]:
        """The epochs before the last at which members are compared."""
        found, epoch = [], self.grace_epochs
        while epoch < num_epochs:
            found.append(epoch)
            epoch *= self.reduction_factor
        return tuple(found)


def check_rows(spec: EarlyStopping, cells: Iterable[Cell], *, drawn: Sequence[str]) -> EarlyStopping:
    """The rule with its rows filled in. Raises BadInput if it selects no row, or if a rung has no validation."""
    cells = list(cells)
    rows = list(dict.fromkeys(cell.row for cell in cells))
    for row in spec.rows:
        if row not in rows:
            raise BadInput(f"'early_stopping.rows' names {row!r}, which is not a row{did_you_mean(row, rows)}")
    chosen = spec.rows or tuple(drawn)
    if not chosen:
        raise BadInput("'early_stopping.rows' names no row and there are no 'rows.draws'; name the rows it may stop")
    for cell in cells:
        if cell.row in chosen and cell.recipe.is_imported:
            raise BadInput(f"'early_stopping.rows' names {cell.row!r}, which is imported and not trained; remove it")
        every = cell.recipe.eval.every
        unseen = [rung for rung in spec.rungs(cell.recipe.optim.epochs) if rung % every]
        if cell.row in chosen and unseen:
            raise BadInput(
                f"'early_stopping' compares row {cell.row!r} after epoch {unseen[0]}, where it is not validated: "
                f"eval.every is {every}; set it to 1, or 'early_stopping.grace_epochs' to a multiple of it"
            )
    return replace(spec, rows=chosen)
