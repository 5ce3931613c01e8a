"""A sweep's results as one tidy DataFrame: a row for each cell and metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import COSTS, Sweep
from orchestrator.store.step_record import StepRecord
from orchestrator.tables.columns import make_column
from orchestrator.tables.published import Published
from orchestrator.tables.table import protocol_in, shown

if TYPE_CHECKING:
    from pandas import DataFrame as DataFrame

FIELDS = {
    "sweep": "string",
    "row": "string",
    "seed": "int64",
    "step_id": "string",
    "state": "string",
    "metric": "string",
    "value": "float64",
    "unit": "string",
    "protocol": "string",
    "num_clips": "Int64",
    "device": "string",
    "published": "float64",
    "published_heading": "string",
}
"""Column -> its type. ``value`` is in ``unit``, as a table shows it: accuracies in percent."""


def results_frame(
    sweep: Sweep, *, steps: Mapping[str, Step], records: Mapping[str, StepRecord], published: Published
) -> DataFrame:
    """The DataFrame of a sweep with the columns of `FIELDS`, in the order of its cells.

    A metric that the sweep's tables ask for and a cell lacks, since it is not done or was not judged so, has a row
    without a value. ``published`` is the paper's figure where a table of the sweep has one beside the metric, and
    ``published_heading`` says of what.
    """
    import pandas as pd  # here, since it takes a second to load

    frame = pd.DataFrame(list(_lines(sweep, steps, records, published)), columns=list(FIELDS))
    return frame.astype(FIELDS)  # type: ignore[arg-type]  # the stubs want each name as a literal


def _lines(
    sweep: Sweep, steps: Mapping[str, Step], records: Mapping[str, StepRecord], published: Published
) -> Iterator[dict[str, Any]]:
    step_of = {(row, seed): step for step in steps.values() for row, seed in step.cells}
    beside = _published_figures(sweep, published)
    asked = list(dict.fromkeys(column for spec in sweep.tables.values() for column in spec.columns))
    for cell in sweep.cells:
        step = step_of[cell.row, cell.seed]
        record = records.get(step.id)
        values = record.metrics if record is not None and record.state == "done" else {}
        for metric in dict.fromkeys((*values, *asked)):
            figure, heading = beside.get((cell.row, metric), (None, None))
            is_test = metric.startswith("test/")
            protocol, num_clips = _judged(metric, record) if is_test else (None, None)
            yield {
                "sweep": sweep.name,
                "row": cell.row,
                "seed": cell.seed,
                "step_id": step.id,
                "state": "missing" if record is None else record.state,
                "metric": metric,
                "value": shown(metric, values[metric]) if metric in values else None,
                "unit": "%" if is_test else COSTS[metric][1] if metric in COSTS else "",
                "protocol": protocol,
                "num_clips": num_clips,
                "device": record.device if record is not None and metric == "clips/s" else None,
                "published": figure,
                "published_heading": heading,
            }


def _judged(metric: str, record: StepRecord | None) -> tuple[str | None, int | None]:
    """The protocol of a test's metric, the step's own where it names none, and over how many clips its figures are."""
    named = protocol_in(metric)
    if record is None:
        return named, None
    if named in (None, record.protocol):
        return record.protocol, record.num_clips
    return named, record.evaluations[named][0] if named in record.evaluations else None


def _published_figures(sweep: Sweep, published: Published) -> dict[tuple[str, str], tuple[float, str]]:
    """(row, metric) -> the figure that stands beside it in the first table that has one, and its heading."""
    recipes = {cell.row: cell.recipe for cell in sweep.cells}
    found: dict[tuple[str, str], tuple[float, str]] = {}
    for spec in sweep.tables.values():
        paper = published.table(spec.published) if spec.published else None
        if paper is None:
            continue
        data_names = {recipes[row].data.name for row in spec.rows}
        for name in spec.columns:
            column = make_column(name, spec, paper, data_names, published)
            for row in spec.rows if column.published else ():
                assert column.published is not None
                value = paper.rows.get(spec.published_rows.get(row, row), {}).get(column.published.name)
                if value is not None:
                    found.setdefault((row, name), (value, column.published_heading or ""))
    return found
