"""Which columns a table may have, their headings, and the published figures beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from orchestrator.spec.strict import naming
from orchestrator.spec.sweep import COSTS, Sweep, TableSpec
from orchestrator.store.imported_speeds import BENCH
from orchestrator.tables.published import Published, PublishedColumn, PublishedTable
from orchestrator.tables.table import Column
from reskd.errors import BadInput
from reskd.protocol import parse_protocol

ACCURACIES = {"top1": "top-1", "top5": "top-5", "mAP": "mAP", "agreement": "agreement with teacher"}


def check_tables(sweep: Sweep, published: Published) -> None:
    """Raise BadInput for a column that no run can have, and for published tables, rows or figures that do not exist."""
    if sweep.auto is not None:
        _check_accuracy(sweep.auto.column, f"{sweep.path}: 'seeds.auto.column'")
    for key, spec in sweep.tables.items():
        where = f"{sweep.path}: 'tables.{key}"
        for column in spec.columns:
            if column not in COSTS:
                _check_accuracy(column, f"{where}.columns'")
        if spec.published is None:
            continue
        if spec.published not in published.tables:
            raise BadInput(f"{where}.published' names {spec.published!r}; choose one of {', '.join(published.tables)}")
        paper = published.tables[spec.published]
        for row in spec.published_rows.values():
            if row not in paper.rows:
                raise BadInput(f"{where}.published_rows' names {row!r}; choose one of {', '.join(paper.rows)}")
        _check_expectations(sweep, spec, paper, where)


def _check_accuracy(column: str, where: str) -> None:
    """Raise BadInput unless a test column is test/<metric> or test/<protocol>/<metric>."""
    if column.split("/")[-1] not in ACCURACIES:
        raise BadInput(f"{where} has {column!r}; the metrics of test/ are {', '.join(ACCURACIES)}")
    parts = column.split("/")[1:-1]
    if len(parts) > 1:
        raise BadInput(f"{where} has {column!r}; write test/<metric> or test/<protocol>/<metric>")
    for name in parts:
        with naming(f"{where} has {column!r}"):
            parse_protocol(name)


def _check_expectations(sweep: Sweep, spec: TableSpec, paper: PublishedTable, where: str) -> None:
    """Raise BadInput if an expectation needs a published figure that does not exist.

    An expectation for `row` applies to the rows that have one.
    """
    recipes = {cell.row: cell.recipe for cell in sweep.cells}
    for row, columns in spec.expect.items():
        for column, expected in columns.items():
            if not expected.is_about_published or row == "row":
                continue
            data_name = recipes[row].data.name
            beside = paper.column_beside(plain_key(column), data_name=data_name)
            values = paper.rows.get(spec.published_rows.get(row, row), {})
            if beside is None or beside.name not in values:
                raise BadInput(
                    f"{where}.expect.{row}.{column}' is about a published figure, but {spec.published} has none there; "
                    "give low and high instead"
                )


def plain_key(key: str) -> str:
    """The metric without its protocol: `test/val-f32-v10x3/top1` -> `test/top1`; bench/clips/s -> clips/s."""
    if key == BENCH:
        return "clips/s"
    return f"test/{key.split('/')[-1]}" if key.startswith("test/") else key


def make_column(
    key: str, spec: TableSpec, paper: PublishedTable | None, data_names: Collection[str], published: Published
) -> Column:
    """The column with its headings. It has a delta only if a row without a teacher can have the metric too."""
    if key in COSTS:
        heading, unit = COSTS[key]
        column = Column(key=key, heading=heading, unit=unit)
    else:
        protocol, _, metric = key.removeprefix("test/").rpartition("/")
        heading = f"{ACCURACIES.get(metric, metric)} (%)" + (f", {protocol}" if protocol else "")
        has_delta = metric != "agreement"
        column = Column(key=key, heading=heading, unit="%", delta_to=spec.delta_to if has_delta else None)
    data_name = next(iter(data_names)) if len(data_names) == 1 else ""
    beside = paper.column_beside(plain_key(key), data_name=data_name) if paper else None
    if paper is None or beside is None or key != _place_of(beside, spec, paper, data_name):
        return column
    is_comparable = beside.data == data_name and beside.measured == plain_key(key)
    metric = beside.measured.removeprefix("test/")
    shown = ACCURACIES.get(metric, metric)
    # MLflow cuts long headings at their end, so the source of the figure comes first.
    of_what = shown if beside.data == data_name else f"{published.data_sets[beside.data]} {shown}"
    return replace(
        column,
        published=beside,
        is_comparable=is_comparable,
        published_heading="published" if is_comparable else f"{of_what}, published",
    )


def _place_of(beside: PublishedColumn, spec: TableSpec, paper: PublishedTable, data_name: str) -> str:
    """The only column beside which a published one stands: one with its own metric, preferably without a protocol."""
    fitting = [key for key in spec.columns if paper.column_beside(plain_key(key), data_name=data_name) == beside]
    return min(fitting, key=lambda key: (plain_key(key) != beside.measured, plain_key(key) != key))
