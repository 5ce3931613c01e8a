"""Draws the figures of a sweep: those that the `plot` of its tables asks for, or a single kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.spec.columns import main_metric
from orchestrator.spec.sweep import PlotKind
from orchestrator.store.step_record import records_from_store
from orchestrator.tables.build import build_table
from orchestrator.tables.class_gain import draw_gains, read_gains
from orchestrator.tables.cost_plot import draw
from orchestrator.tables.learning_curves import draw_curves, read_curves
from orchestrator.tables.published import load_published
from orchestrator.tables.table import Figure, Table
from orchestrator.tables.write_files import PLOT_STEM, PLOT_TITLE, figure_files
from reskd.errors import BadInput
from reskd.files import write_atomic

if TYPE_CHECKING:
    from orchestrator.experiment.bound_sweep import Prepared


def with_figures(tables: Sequence[Table], prepared: Prepared) -> list[Table]:
    """The tables with the figures that `plot` asks for, from the store's files. accuracy_vs_gmacs is made elsewhere."""
    found = []
    for table in tables:
        spec = prepared.sweep.tables[table.key]
        figures: list[Figure] = []
        if "learning_curves" in spec.plot:
            figures += _curves(prepared, spec.rows, stem=f"{table.key}_learning_curves")
        if "class_gain" in spec.plot:
            assert spec.delta_to is not None
            figures += _gains(prepared, spec.rows, over=spec.delta_to, stem=f"{table.key}_class_gain")
        found.append(replace(table, figures=tuple(figures)))
    return found


def write_sweep_figures(prepared: Prepared, kind: PlotKind, folder: Path) -> list[Path]:
    """Write one kind of figure of a sweep, whatever its tables ask for.

    Raises BadInput if no table gives what is compared, or if there is no data to draw yet.
    """
    sweep = prepared.sweep
    if kind == "class_gain" and not any(spec.delta_to for spec in sweep.tables.values()):
        raise BadInput(f"{sweep.path}: no table has 'delta_to', so there is no row to compare classes with")
    if kind == "accuracy_vs_gmacs" and not any(main_metric(spec.columns) for spec in sweep.tables.values()):
        raise BadInput(f"{sweep.path}: no table has a column test/... of an accuracy, so there is none to draw")
    figures = sweep_figures(prepared, kind)
    if not figures:
        raise BadInput(
            f"{sweep.path}: nothing to draw yet in {prepared.store.address}; train it first with `reskd run`"
        )
    files = {name: content for figure in figures for name, content in figure_files(figure, formats=("png",)).items()}
    for name, content in files.items():
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def sweep_figures(prepared: Prepared, kind: PlotKind) -> list[Figure]:
    """The figures of one kind for which there is data, whatever the tables ask for."""
    sweep = prepared.sweep
    if kind == "learning_curves":
        return _curves(prepared, sweep.rows, stem="learning_curves")
    if kind == "accuracy_vs_gmacs":
        return _costs(prepared)
    return [
        figure
        for key, spec in sweep.tables.items()
        if spec.delta_to
        for figure in _gains(prepared, spec.rows, over=spec.delta_to, stem=f"{key}_class_gain")
    ]


def _curves(prepared: Prepared, rows: Sequence[str], *, stem: str) -> list[Figure]:
    metric = next(cell.recipe.eval.metric for cell in prepared.sweep.cells if cell.row in rows)
    curves = read_curves(prepared.store, prepared.steps, rows, metric=metric)
    if not curves:
        return []
    return [Figure(stem=stem, title="Learning curves", draw=partial(draw_curves, curves, metric=metric))]


def _gains(prepared: Prepared, rows: Sequence[str], *, over: str, stem: str) -> list[Figure]:
    gains = read_gains(prepared.store, prepared.steps, rows, over=over)
    if not gains:
        return []
    return [Figure(stem=stem, title=f"Gain over {over}, class by class", draw=partial(draw_gains, gains))]


def _costs(prepared: Prepared) -> list[Figure]:
    """The cost plot, from the first table with an accuracy. It shows every row of the sweep."""
    sweep = prepared.sweep
    spec = next((spec for spec in sweep.tables.values() if main_metric(spec.columns)), None)
    if spec is None:
        return []
    table = build_table(
        "cost",
        replace(spec, plot=("accuracy_vs_gmacs",)),
        sweep=sweep,
        steps=prepared.steps,
        records=records_from_store(prepared.store, prepared.steps),
        published=load_published(),
    )
    if table.plot is None or not table.plot.points:
        return []
    return [Figure(stem=PLOT_STEM, title=PLOT_TITLE, draw=partial(draw, table.plot))]
