"""The figure as it is drawn, read back from matplotlib."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from orchestrator.tables.cost_plot import MARK_SIZE, draw
from orchestrator.tables.table import Figure, Plot, PlotPoint
from orchestrator.tables.write_files import figure_files

NAMES = ("baseline", "clip-level KL", "frame-level KL", "24 px = pixel-level MSE", "resolution distillation")
CROWD = tuple(
    PlotPoint(row=name, series=f"series {index % 3}", gmacs=0.02, accuracies=(96 + index / 2, 99 - index / 4))
    for index, name in enumerate(NAMES)
)
FAR = PlotPoint(row="64 px", series="series 0", gmacs=0.2, accuracies=(99.7, 48.0))


def axes_of(*points: PlotPoint) -> Axes:
    return draw(Plot(heading="top-1 (%)", points=points)).axes[0]


def marks_of(axes: Axes) -> list[Bbox]:
    """Boxes of everything drawn as a mark, in pixels."""
    size = MARK_SIZE / 72 * axes.figure.dpi
    places = [
        axes.transData.transform(place)
        for line in axes.lines
        if line.get_marker() != "None"
        for place in line.get_xydata()
    ]
    return [Bbox.from_bounds(x - size / 4, y - size / 4, size / 2, size / 2) for x, y in places]


def test_a_figure_is_drawn_for_one_point_and_for_costs_far_apart():
    lone = Plot(heading="top-1 (%)", points=(PlotPoint(row="a", series="s", gmacs=0.1, accuracies=(50.0,)),))
    far = Plot(heading="top-1 (%)", points=(*lone.points, FAR))
    first, second = (figure_files(Figure(stem="a", title="", draw=partial(draw, plot))) for plot in (lone, far))
    starts = {name: content[:5] for name, content in first.items()}
    assert starts == {"a.png": b"\x89PNG\r", "a.svg": b"<?xml", "a.pdf": b"%PDF-"}
    assert all(first[name] != second[name] for name in first)


def test_equal_figures_are_equal_files_and_a_dollar_sign_is_a_letter():
    plot = Plot(heading="top-1 (%)", points=(PlotPoint(row="a $\\bad$", series="s", gmacs=0.1, accuracies=(50.0,)),))
    first, second = (figure_files(Figure(stem="a", title="", draw=partial(draw, plot))) for _ in range(2))
    assert first == second
    assert b"Date" not in first["a.svg"] + first["a.pdf"]


def test_labels_stand_beside_their_marks_in_a_vector_file_too():
    """A file for papers has 72 points an inch, whatever the pixels of the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = draw(Plot(heading="top-1 (%)", points=(CROWD[0],)))
    shares = []
    for dpi in (72, 150):
        figure.set_dpi(dpi)
        FigureCanvasAgg(figure).draw()
        extent = figure.axes[0].texts[0].get_window_extent()
        shares.append(extent.x0 / figure.bbox.width)
    assert shares[0] == pytest.approx(shares[1], abs=0.005)


def test_labels_of_a_crowded_column_lie_on_no_mark_and_on_no_other_label():
    axes = axes_of(*CROWD, FAR)
    labels = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts].count("24 px = pixel-level MSE") == 1
    assert not any(one.overlaps(other) for one, other in itertools.combinations(labels, 2))
    assert not any(label.overlaps(mark) for label in labels for mark in marks_of(axes))


def test_seeds_are_drawn_at_the_cost_of_their_row():
    drawn = {
        (x, y) for line in axes_of(*CROWD, FAR).lines if line.get_marker() == "o" for x, y in line.get_xydata().tolist()
    }
    assert {(point.gmacs, value) for point in (*CROWD, FAR) for value in point.accuracies} <= drawn


@pytest.mark.parametrize(("accuracies", "top"), [((99.9, 40.0), 100.0), ((50.0, 40.0), 51.0)])
def test_the_axis_ends_above_the_best_accuracy_and_never_above_a_hundred(accuracies: tuple[float, ...], top: float):
    axes = axes_of(PlotPoint(row="a", series="s", gmacs=0.1, accuracies=accuracies))
    assert axes.get_ylim()[1] == top


def test_a_line_joins_the_tables_rows_of_a_series_alone():
    points = [
        PlotPoint(row=str(cost), series="s", gmacs=cost, accuracies=(50.0 + cost,), in_table=cost < 3)
        for cost in (3.0, 2.0, 1.0)
    ]
    lines = [line.get_xydata().tolist() for line in axes_of(*points).lines if line.get_marker() == "None"]
    assert [[1.0, 51.0], [2.0, 52.0]] in lines
    assert not any([3.0, 53.0] in line and len({tuple(end) for end in line}) > 1 for line in lines)
