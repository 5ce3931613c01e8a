"""Draws learning curves: a row's validation metric by epoch, as mean over its seeds with their range."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.columns import quantity_of
from orchestrator.spec.steps import Step
from orchestrator.store.store import Store
from orchestrator.tables.cost_plot import COLOURS, FONT_SIZE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BANDS = 4
"""Up to this number of rows, ranges are drawn as bands; with more rows as bars, since bands would hide each other."""
LINES = ("-", "--", ":")
"""Line styles for rows that share a colour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """The curve of one row. Rows with the same steps are one curve, `24 px = pixel-level MSE`."""

    row: str
    by_epoch: tuple[tuple[int, tuple[float, ...]], ...]
    """(epoch, values in percent of the seeds that were validated in it)."""

    @property
    def means(self) -> list[float]:
        return [statistics.fmean(values) for _, values in self.by_epoch]


def read_curves(store: Store, steps: Mapping[str, Step], rows: Sequence[str], *, metric: str) -> list[Curve]:
    """Read from the store the curves of rows that were validated at least once, finished or not.

    A curve ends when one of its seeds ends, since a mean over other seeds than in the epoch before would jump.
    """
    names: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        ids = tuple(step.id for step in steps.values() if any(cell[0] == row for cell in step.cells))
        names.setdefault(ids, []).append(row)
    curves, quantity = [], quantity_of(f"test/{metric}")
    for ids, same in names.items():
        found: dict[int, list[float]] = {}
        for step_id in ids:
            for line in store.metrics(step_id):
                if f"val/{metric}" in line["metrics"]:
                    found.setdefault(line["epoch"], []).append(quantity.shown(line["metrics"][f"val/{metric}"]))
        if found:
            most = max(map(len, found.values()))
            by_epoch = tuple((epoch, tuple(found[epoch])) for epoch in sorted(found) if len(found[epoch]) == most)
            curves.append(Curve(row=" = ".join(same), by_epoch=by_epoch))
    return curves


def draw_curves(curves: Sequence[Curve], *, metric: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.6, 4.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    quantity, are_few = quantity_of(f"test/{metric}"), len(curves) <= MAX_BANDS
    last = max(epoch for curve in curves for epoch, _ in curve.by_epoch)
    step = 0.005 * last  # bars of several rows are shifted a little, so that they stand side by side
    for index, curve in enumerate(curves):
        epochs: list[float] = [epoch for epoch, _ in curve.by_epoch]
        colour, line = COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)]
        lows, highs = ([side(values) for _, values in curve.by_epoch] for side in (min, max))
        if are_few:
            axes.fill_between(epochs, lows, highs, color=colour, alpha=0.18, linewidth=0)
        else:
            epochs = [epoch + step * (index - (len(curves) - 1) / 2) for epoch in epochs]
            axes.vlines(epochs, lows, highs, color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(epochs, curve.means, line, color=colour, marker="o", markersize=3.5, label=curve.row)
    axes.set_xlabel("epoch")
    axes.set_ylabel(
        f"validation {quantity.heading}\nmean over seeds; {'band' if are_few else 'bar'}: lowest to highest"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    # In the order of the curves' last values, so that each name is near its line.
    handles, labels = axes.get_legend_handles_labels()
    ends = [curve.means[-1] for curve in curves]
    order = sorted(range(len(curves)), key=ends.__getitem__, reverse=quantity.higher_is_better)
    figure.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        loc="outside right upper",
        frameon=False,
        fontsize=FONT_SIZE,
        title="best at its end first",
        title_fontsize=FONT_SIZE,
    )
    return figure
