"""Draws the figures of a sweep: those that the `plot` of its tables asks for, or a single kind."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.spec.columns import main_metric
from orchestrator.spec.sweep import PlotKind
from orchestrator.store.step_record import records_from_store
from orchestrator.tables.build import build_table
from orchestrator.tables.class_gain import draw_gains, read_gains
from orchestrator.tables.cost_plot import accuracy_vs_gmacs
from orchestrator.tables.learning_curves import draw_curves, read_curves
from orchestrator.tables.published import load_published
from orchestrator.tables.table import Figure, Table
from reskd.errors import BadInput
from reskd.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

    from orchestrator.experiment.bound_sweep import Prepared


def with_figures(tables: Sequence[Table], prepared: Prepared) -> list[Table]:
    """The tables with the figures that `plot` asks for, from the store's files. accuracy_vs_gmacs is made elsewhere."""
    found = []
    for table in tables:
        spec = prepared.sweep.tables[table.key]
        figures: list[Figure] = []
        if "learning_curves" in spec.plot:
            figures += _curves(prepared, spec.rows, file=f"{table.key}_learning_curves.png")
        if "class_gain" in spec.plot:
            assert spec.delta_to is not None
            figures += _gains(prepared, spec.rows, over=spec.delta_to, file=f"{table.key}_class_gain.png")
        found.append(replace(table, figures=tuple(figures)))
    return found


def write_sweep_figures(prepared: Prepared, kind: PlotKind, folder: Path) -> list[Path]:
    """Write one kind of figure of a sweep, whatever its tables ask for.

    Raises BadInput if there is no data to draw yet.
    """
    sweep = prepared.sweep
    figures: list[Figure] = []
    if kind == "learning_curves":
        figures = _curves(prepared, sweep.rows, file="learning_curves.png")
    elif kind == "class_gain":
        specs = {key: spec for key, spec in sweep.tables.items() if spec.delta_to}
        if not specs:
            raise BadInput(f"{sweep.path}: no table has 'delta_to', so there is no row to compare classes with")
        for key, spec in specs.items():
            figures += _gains(prepared, spec.rows, over=spec.delta_to or "", file=f"{key}_class_gain.png")
    else:
        figures = _costs(prepared)
    if not figures:
        raise BadInput(
            f"{sweep.path}: nothing to draw yet in {prepared.store.address}; train it first with `reskd run`"
        )
    for figure in figures:
        write_atomic(folder / figure.file, figure.png())
    return [folder / figure.file for figure in figures]


def _curves(prepared: Prepared, rows: Sequence[str], *, file: str) -> list[Figure]:
    metric = next(cell.recipe.eval.metric for cell in prepared.sweep.cells if cell.row in rows)
    curves = read_curves(prepared.store, prepared.steps, rows, metric=metric)
    if not curves:
        return []
    return [Figure(file=file, title="Learning curves", png=_png(partial(draw_curves, curves, metric=metric)))]


def _gains(prepared: Prepared, rows: Sequence[str], *, over: str, file: str) -> list[Figure]:
    gains = read_gains(prepared.store, prepared.steps, rows, over=over)
    if not gains:
        return []
    return [Figure(file=file, title=f"Gain over {over}, class by class", png=_png(partial(draw_gains, gains)))]


def _costs(prepared: Prepared) -> list[Figure]:
    """The cost plot, from the first table with an accuracy. It shows every row of the sweep."""
    sweep = prepared.sweep
    spec = next((spec for spec in sweep.tables.values() if main_metric(spec.columns)), None)
    if spec is None:
        raise BadInput(f"{sweep.path}: no table has a column test/... of an accuracy, so there is none to draw")
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
    return [
        Figure(file="accuracy_vs_gmacs.png", title="Accuracy against cost", png=partial(accuracy_vs_gmacs, table.plot))
    ]


def _png(draw: Callable[[], Drawn]) -> Callable[[], bytes]:
    """A function that draws the PNG when the file is written. It ignores the user's matplotlibrc."""

    def png() -> bytes:
        from matplotlib import style

        file = io.BytesIO()
        with style.context("default"):
            draw().savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()

    return png
