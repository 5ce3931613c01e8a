"""Accuracy over cost: one mark a row, its seeds as small points."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.entries import Plot, PlotPoint

# Okabe and Ito's colours, told apart by every common kind of colour vision; markers tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

LABEL_GAP = 11.0
"""Points (1/72 inch) between two labels, one above the other."""
LABEL_WIDTH = 110.0
"""Points within which two labels side by side would meet."""
SEEDS_LEFT = 9.0
"""Points from a mark to the column of its seeds; rows of one cost have their columns side by side."""
SEEDS_APART = 6.0
LOG_FROM = 8.0
"""Ratio of the largest to the smallest cost from which the axis is logarithmic."""


def accuracy_vs_gmacs(plot: Plot) -> bytes:
    """The figure as PNG; equal plots give equal bytes."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("default"):  # whatever a user's matplotlibrc says
        figure = Figure(figsize=(7.2, 4.8), dpi=150, layout="constrained")
        axes = figure.subplots()
        all_series = list(dict.fromkeys(point.series for point in plot.points))
        for index, series in enumerate(all_series):
            points = sorted((p for p in plot.points if p.series == series), key=lambda point: point.gmacs)
            _draw_means(axes, points, colour=_colour(index), marker=MARKERS[index % len(MARKERS)])
        _frame(axes, plot)
        _draw_seeds(axes, plot.points, colours={series: _colour(index) for index, series in enumerate(all_series)})
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)
        figure.draw_without_rendering()  # fixes the scale that labels are placed by
        _label(axes, plot.points)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _draw_means(axes: Any, points: Sequence[PlotPoint], *, colour: str, marker: str) -> None:
    costs = [point.gmacs for point in points]
    means = [_mean(point) for point in points]
    # A line says "the same with fewer pixels"; rows of one cost have nothing to join.
    line = "-" if len(set(costs)) == len(costs) > 1 else "none"
    axes.plot(
        costs,
        means,
        color=colour,
        linestyle=line,
        linewidth=1.2,
        marker=marker,
        markersize=8,
        label=points[0].series,
        zorder=3,
    )


def _draw_seeds(axes: Any, points: Sequence[PlotPoint], *, colours: Mapping[str, str]) -> None:
    """Each row's seeds as a column of small points left of its mark."""
    from matplotlib.transforms import ScaledTranslation

    costs: list[float] = []
    for point in points:
        left = SEEDS_LEFT + SEEDS_APART * costs.count(point.gmacs)
        costs.append(point.gmacs)
        if len(point.accuracies) > 1:
            axes.plot(
                [point.gmacs] * len(point.accuracies),
                point.accuracies,
                ".",
                color=colours[point.series],
                markersize=5,
                transform=axes.transData + ScaledTranslation(-left / 72, 0, axes.figure.dpi_scale_trans),
                zorder=2,
            )
    if any(len(point.accuracies) > 1 for point in points):
        axes.plot([], [], ".", color="#555555", markersize=5, label="small: the row's seeds; large: their mean")


def _frame(axes: Any, plot: Plot) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    costs = [point.gmacs for point in plot.points]
    low, high = min(costs), max(costs)
    if low > 0 and high / low >= LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low * (low / high) ** 0.12, high * (high / low) ** 0.3)
    elif high > low:
        axes.set_xlim(low - 0.12 * (high - low), high + 0.3 * (high - low))
    else:
        axes.set_xticks([low])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    values = [accuracy for point in plot.points for accuracy in point.accuracies]
    room = max(0.08 * (max(values) - min(values)), 1.0)
    axes.set_ylim(min(values) - room, max(values) + room)
    axes.set_xlabel("GMACs a clip (1e9 multiply-accumulates)")
    axes.set_ylabel(plot.heading)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Any, points: Sequence[PlotPoint]) -> None:
    """Row names right of their marks, moved up where they would lie on one another."""
    from matplotlib.patheffects import withStroke

    points_per_pixel = 72 / axes.figure.dpi
    placed: list[tuple[float, float]] = []
    for point in sorted(points, key=_mean):
        x, y = (float(pixel) * points_per_pixel for pixel in axes.transData.transform((point.gmacs, _mean(point))))
        label_y = y
        for other_x, other_y in placed:
            if abs(other_x - x) < LABEL_WIDTH and abs(other_y - label_y) < LABEL_GAP:
                label_y = other_y + LABEL_GAP
        placed.append((x, label_y))
        axes.annotate(
            point.row,
            (point.gmacs, _mean(point)),
            (8, label_y - y),
            textcoords="offset points",
            va="center",
            size=9,
            path_effects=[withStroke(linewidth=3, foreground="white")],
            zorder=4,
        )


def _mean(point: PlotPoint) -> float:
    return statistics.fmean(point.accuracies)
