"""A sweep's results: one typed row for each cell and metric, the only way from step records to figures.

Tables, plots, the seeds of `seeds: auto` and the DataFrame are all made from these rows. They are a list and no
DataFrame, since a table needs nothing of pandas, which takes a second to load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from orchestrator.spec.columns import protocol_in, quantity_of
from orchestrator.spec.expand import Cell
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep
from orchestrator.store.imported_speeds import BenchFile, find_figure
from orchestrator.store.step_record import StepRecord
from orchestrator.tables.columns import make_column, published_figures
from orchestrator.tables.published import Published
from orchestrator.tables.table import SeedState

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
"""Column of the DataFrame -> its type. ``value`` is in ``unit``, as a table shows it: accuracies in percent."""


ENDED_WITHOUT: dict[str, str] = {"failed": "failed", "pruned": "was stopped early", "damaged": "is damaged"}
"""States in which a teacher has no weights for its students, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One metric of one cell: its value, or why there is none."""

    row: str
    seed: int
    step_id: str
    state: SeedState
    """Of the cell; `done` too where its step lacks this metric."""
    metric: str
    value: float | None
    """In `unit`; None where the cell is not done or lacks the metric."""
    unit: str
    protocol: str | None = None
    """Name of the protocol behind it, for a metric of the test and for a cost of a clip."""
    num_clips: int | None = None
    """Number of clips behind it, for a metric of the test."""
    device: str | None = None
    """Where it was measured, for a speed."""
    note: str = ""
    """Why the cell failed or was stopped early, or that it waits for a teacher that did."""
    url: str | None = None
    """Page of the step's MLflow run."""

    @property
    def seed_state(self) -> SeedState:
        """The cell's state as far as this metric goes."""
        return "not measured" if self.state == "done" and self.value is None else self.state


OWN_FIELDS = tuple(field.name for field in fields(Result) if field.name in FIELDS)


def collect_results(
    cells: Iterable[Cell],
    *,
    steps: Mapping[str, Step],
    records: Mapping[str, StepRecord],
    metrics: Sequence[str],
    with_recorded: bool = False,
    bench: Sequence[BenchFile] = (),
    waiting: Collection[str] = (),
) -> list[Result]:
    """One result for each of the cells, in their order, and each of the metrics, measured or not.

    records: step id -> record. Records of steps that are not in ``steps`` tell a stale cell from a missing one.
    with_recorded: add every metric that is on record, before those that were asked for.
    bench: imported measurements; each cell of a network that was measured gets the value. waiting: steps that a run
    will train and has not begun.
    """
    step_of = {cell: step for step in steps.values() for cell in step.cells}
    others = {cell for step_id, record in records.items() if step_id not in steps for cell in record.cells}
    found: list[Result] = []
    for cell in cells:
        step = step_of[cell.row, cell.seed]
        record, teacher = records.get(step.id), records.get(step.teacher_id or "")
        state = _state(record, teacher, is_waiting=step.id in waiting, is_stale=(cell.row, cell.seed) in others)
        note = _note(cell, record, teacher)
        recorded = record.metrics if record else {}
        for metric in dict.fromkeys((*recorded, *metrics)) if with_recorded else metrics:
            quantity = quantity_of(metric)
            value, device = recorded.get(metric), None
            if quantity.record == "imported":
                figure = find_figure(bench, cell.recipe)
                value, device = (figure.measured.clips_per_s, figure.file.device) if figure else (None, None)
            elif quantity.record == "throughput" and record:
                device = record.device
            named = protocol_in(metric)
            found.append(
                Result(
                    row=cell.row,
                    seed=cell.seed,
                    step_id=step.id,
                    state=state,
                    metric=metric,
                    value=None if value is None else quantity.shown(value),
                    unit=quantity.unit,
                    protocol=named or (record.protocol if record and quantity.depends_on_protocol else None),
                    num_clips=_num_clips(record, named) if record and quantity.is_test else None,
                    device=device,
                    note=note,
                    url=record.url if record else None,
                )
            )
    return found


def results_frame(
    sweep: Sweep,
    *,
    steps: Mapping[str, Step],
    records: Mapping[str, StepRecord],
    published: Published,
    bench: Sequence[BenchFile] = (),
) -> DataFrame:
    """The DataFrame of a sweep with the columns of `FIELDS`, in the order of its cells.

    A metric that the sweep's tables ask for and a cell lacks, since it is not done or was not judged so, has a row
    without a value. ``published`` is the paper's figure where a table of the sweep has one beside the metric, and
    ``published_heading`` says of what.
    """
    import pandas as pd  # here, since it takes a second to load

    beside = _published(sweep, published)
    results = collect_results(
        sweep.cells, steps=steps, records=records, metrics=sweep.columns, with_recorded=True, bench=bench
    )
    lines = (_line(sweep, result, beside) for result in results)
    return pd.DataFrame(lines, columns=list(FIELDS)).astype(FIELDS)  # type: ignore[arg-type]  # wants literal names


def _line(sweep: Sweep, result: Result, beside: Mapping[tuple[str, str], tuple[float, str]]) -> dict[str, Any]:
    figure, heading = beside.get((result.row, result.metric), (None, None))
    own = {name: getattr(result, name) for name in OWN_FIELDS}
    return {"sweep": sweep.name, **own, "published": figure, "published_heading": heading}


def _published(sweep: Sweep, published: Published) -> dict[tuple[str, str], tuple[float, str]]:
    """(row, metric) -> the figure that stands beside it in the first table that has one, and its heading."""
    data_of = {cell.row: cell.recipe.data.name for cell in sweep.cells}
    found: dict[tuple[str, str], tuple[float, str]] = {}
    for spec in sweep.tables.values():
        paper = published.table(spec.published) if spec.published else None
        data_names = {data_of[row] for row in spec.rows}
        columns = [make_column(key, spec, paper, data_names, published) for key in spec.columns]
        heading_of = {column.key: column.published_heading or "" for column in columns}
        for (row, key), value in published_figures(spec, columns, paper).items():
            found.setdefault((row, key), (value, heading_of[key]))
    return found


def _state(record: StepRecord | None, teacher: StepRecord | None, *, is_waiting: bool, is_stale: bool) -> SeedState:
    if record is not None:
        return record.state
    if teacher is not None and teacher.state in ENDED_WITHOUT:
        return "teacher failed"
    if is_waiting:
        return "waiting"
    return "stale" if is_stale else "missing"


def _note(cell: Cell, record: StepRecord | None, teacher: StepRecord | None) -> str:
    """Why a cell failed or was stopped early, or that it waits for a teacher that did; nothing for the others."""
    who = f"{cell.row}, seed {cell.seed}"
    if record is not None and record.state in ("failed", "damaged"):
        return f"{who}, {record.state}: {_why(record)}"
    if record is not None and record.state == "pruned":
        return f"{who}, {record.note}"
    if record is None and teacher is not None and teacher.state in ENDED_WITHOUT:
        became = ENDED_WITHOUT[teacher.state]
        return f"{who}, waits for its teacher {teacher.step_id}, which {became}: {_why(teacher)}"
    return ""


def _why(record: StepRecord) -> str:
    """The reason and the traceback's last lines on one line."""
    trace = " | ".join(line.strip() for line in record.trace.splitlines())
    return f"{record.note} ({trace})" if trace else record.note


def _num_clips(record: StepRecord, protocol: str | None) -> int | None:
    """Clips behind the figures of a protocol; None: of the step's own."""
    if protocol in (None, record.protocol):
        return record.num_clips
    return record.evaluations[protocol][0] if protocol in record.evaluations else None
