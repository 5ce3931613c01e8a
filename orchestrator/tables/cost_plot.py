"""Draws accuracy against cost: one mark per row, with its seeds as small points at the same cost."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.tables.label_placement import Box, Point, place
from orchestrator.tables.table import Plot, PlotPoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by every common kind of colour vision; markers tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

MARK_SIZE = 9.0
"""Size of a mark in points (1/72 inch), as all sizes here."""
SEED_SIZE = 4.0
PEER_SIZE = 5.5
PEER_COLOUR = "#8c8c8c"
PEER_TEXT = "#5f5f5f"
FONT_SIZE = 9.0
LEADER_FROM = 12.0
"""From this distance between a label and its mark, a thin line joins them."""
LINE_BOXES = 60
"""Number of small boxes that represent a line between two rows when labels are placed."""
LOG_FROM = 8.0
"""From this ratio of the largest to the smallest cost, the axis is logarithmic."""


def draw(plot: Plot) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for index, series in enumerate(dict.fromkeys(point.series for point in plot.points)):
        points = [point for point in plot.points if point.series == series]
        points.sort(key=lambda point: point.in_table)  # the plot's own rows on top
        _draw_series(axes, points, colour=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)])
    if any(len(point.accuracies) > 1 for point in plot.points):
        axes.plot([], [], ".", color="#555555", label="small: the row's seeds; large: their mean")
    if plot.peers:
        axes.plot(
            [cost for _, cost, _ in plot.peers],
            [accuracy for *_, accuracy in plot.peers],
            "o",
            color=PEER_COLOUR,
            markersize=PEER_SIZE,
            clip_on=False,
            label=f"published ({plot.peers_from} of the paper), not measured here",
        )
    _frame(axes, plot)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=FONT_SIZE)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the labels are placed by this layout, and must not change it
    _label(axes, plot)
    return figure


def _draw_series(axes: Any, points: Sequence[PlotPoint], *, colour: str, marker: str) -> None:
    """Draw a series: the marks, a line through the rows of the table, and the seeds with their range."""
    series = points[0].series
    # Nothing is clipped at the frame, so that a mark at 100 % is whole.
    options = {"color": colour, "clip_on": False}
    line = _line(points)
    axes.plot([x for x, _ in line], [y for _, y in line], linewidth=1.0, alpha=0.5, zorder=2, **options)
    for point in points:
        span = [min(point.accuracies), max(point.accuracies)]
        axes.plot([point.gmacs] * 2, span, linewidth=1.2, zorder=2, **options)
    costs, means = [point.gmacs for point in points], [_mean(point) for point in points]
    # White rims separate overlapping marks. Seeds are drawn on top, so that a seed at its mean is visible.
    rim = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axes.plot(costs, means, marker, markersize=MARK_SIZE, label=series, zorder=3, **options, **rim)
    seeds = [(point.gmacs, value) for point in points for value in point.accuracies if len(point.accuracies) > 1]
    axes.plot([x for x, _ in seeds], [y for _, y in seeds], "o", markersize=SEED_SIZE, zorder=4, **options, **rim)


def _line(points: Sequence[PlotPoint]) -> list[Point]:
    """The line through the table's rows by cost, "the same with fewer pixels". Rows of equal cost are not joined."""
    line = sorted((point.gmacs, _mean(point)) for point in points if point.in_table)
    return line if len({cost for cost, _ in line}) == len(line) > 1 else []


def _frame(axes: Any, plot: Plot) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    costs = [point.gmacs for point in plot.points] + [cost for _, cost, _ in plot.peers]
    low, high = min(costs), max(costs)
    if low > 0 and high / low >= LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low * (low / high) ** 0.15, high * (high / low) ** 0.2)
    elif high > low:
        axes.set_xlim(low - 0.15 * (high - low), high + 0.2 * (high - low))
    else:
        axes.set_xticks([low])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    values = [accuracy for point in plot.points for accuracy in point.accuracies]
    values += [accuracy for *_, accuracy in plot.peers]
    room = max(0.08 * (max(values) - min(values)), 1.0)
    axes.set_ylim(max(min(values) - room, 0.0), min(max(values) + room, 100.0))
    axes.set_xlabel("GMACs a clip (1e9 multiply-accumulates)")
    axes.set_ylabel(plot.heading)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Any, plot: Plot) -> None:
    """Write row names beside their marks, those of peers in grey.

    A thin line leads to the mark if only a far place was free.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Affine2D

    points = sorted(plot.points, key=lambda point: not point.in_table)  # the plot's own rows get the nearest places
    names = [(point.row, "black") for point in points] + [(name, PEER_TEXT) for name, *_ in plot.peers]
    halo = withStroke(linewidth=2.5, foreground="white")
    scale = Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans  # points, at whatever dpi it is saved
    options = {"transform": scale, "clip_on": False}
    texts = [
        axes.text(0, 0, name, size=FONT_SIZE, color=colour, va="center", path_effects=[halo], zorder=6, **options)
        for name, colour in names
    ]
    extents = [text.get_window_extent().transformed(scale.inverted()) for text in texts]
    marks = [_position(axes, point.gmacs, _mean(point)) for point in points]
    marks += [_position(axes, cost, accuracy) for _, cost, accuracy in plot.peers]
    inside = axes.get_window_extent().transformed(scale.inverted())
    boxes = place(
        marks,
        [(extent.width, extent.height) for extent in extents],
        obstacles=[*_obstacles(axes, points), *(Box.around(mark, width=8, height=8) for mark in marks[len(points) :])],
        frame=Box(inside.x0, inside.y0, inside.x1, inside.y1),
    )
    for text, mark, box in zip(texts, marks, boxes, strict=True):
        text.set_position((box.left, (box.bottom + box.top) / 2))
        near = box.nearest(mark)
        if math.dist(near, mark) > LEADER_FROM:
            axes.plot([mark[0], near[0]], [mark[1], near[1]], color="#888888", linewidth=0.6, zorder=1, **options)


def _obstacles(axes: Any, points: Sequence[PlotPoint]) -> Iterator[Box]:
    """Boxes that no label may cover, in points: marks, seeds with their ranges, and lines through rows."""
    for point in points:
        yield Box.around(_position(axes, point.gmacs, _mean(point)), width=MARK_SIZE + 4, height=MARK_SIZE + 4)
        x, low = _position(axes, point.gmacs, min(point.accuracies))
        _, high = _position(axes, point.gmacs, max(point.accuracies))
        yield Box(x - SEED_SIZE / 2, low - SEED_SIZE / 2, x + SEED_SIZE / 2, high + SEED_SIZE / 2)
    for series in {point.series: None for point in points}:
        ends = [_position(axes, *end) for end in _line([point for point in points if point.series == series])]
        for (left, before), (right, after) in itertools.pairwise(ends):
            for step in range(LINE_BOXES + 1):
                share = step / LINE_BOXES
                centre = left + share * (right - left), before + share * (after - before)
                yield Box.around(centre, width=2, height=2)


def _position(axes: Any, cost: float, accuracy: float) -> Point:
    """Position in the figure, in points."""
    x, y = axes.transData.transform((cost, accuracy))
    return float(x) * 72 / float(axes.figure.dpi), float(y) * 72 / float(axes.figure.dpi)


def _mean(point: PlotPoint) -> float:
    return statistics.fmean(point.accuracies)
