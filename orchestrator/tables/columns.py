"""The columns of one table: their headings, and the published figures beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from orchestrator.spec.columns import plain_key, protocol_in, quantity_of
from orchestrator.spec.sweep import Sweep, TableSpec
from orchestrator.tables.published import Published, PublishedColumn, PublishedTable
from orchestrator.tables.table import Column
from reskd.errors import BadInput

PUBLISHED = "published"
"""Heading of published figures of the same data set and metric."""
OF_OTHERS = ", published"
"""End of the heading of published figures of another data set or metric. It begins with their name."""


def check_tables(sweep: Sweep, published: Published) -> None:
    """Raise BadInput for published tables, rows or figures that do not exist."""
    for key, spec in sweep.tables.items():
        if spec.published is None:
            continue
        where = f"{sweep.path}: 'tables.{key}"
        if spec.published not in published.tables:
            raise BadInput(f"{where}.published' names {spec.published!r}; choose one of {', '.join(published.tables)}")
        paper = published.tables[spec.published]
        for row in spec.published_rows.values():
            if row not in paper.rows:
                raise BadInput(f"{where}.published_rows' names {row!r}; choose one of {', '.join(paper.rows)}")
        _check_expectations(sweep, spec, paper, where)


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
            beside = paper.column_beside(_published_key(column), data_name=data_name)
            values = paper.rows.get(spec.published_rows.get(row, row), {})
            if beside is None or beside.name not in values:
                raise BadInput(
                    f"{where}.expect.{row}.{column}' is about a published figure, but {spec.published} has none there; "
                    "give low and high instead"
                )


def _published_key(key: str) -> str:
    """The metric that a column's published figures must have: `test/top1` for `test/val-f32-v10x3/top1`."""
    return quantity_of(key).published_as or plain_key(key)


def make_column(
    key: str, spec: TableSpec, paper: PublishedTable | None, data_names: Collection[str], published: Published
) -> Column:
    """The column with its headings. It has a delta only if a row without a teacher can have the metric too."""
    quantity, protocol = quantity_of(key), protocol_in(key)
    column = Column(
        key=key,
        heading=f"{quantity.heading}, {protocol}" if protocol else quantity.heading,
        unit=quantity.unit,
        ranks_rows=quantity.ranks_rows and quantity.higher_is_better,
        delta_to=spec.delta_to if quantity.ranks_rows else None,
    )
    data_name = next(iter(data_names)) if len(data_names) == 1 else ""
    beside = paper.column_beside(_published_key(key), data_name=data_name) if paper else None
    if paper is None or beside is None or key != _place_of(beside, spec, paper, data_name):
        return column
    is_comparable = beside.data == data_name and beside.measured == _published_key(key)
    theirs = quantity_of(beside.measured)
    shown = theirs.heading.removesuffix(f" ({theirs.unit})") if theirs.is_test else beside.measured
    # MLflow cuts long headings at their end, so the source of the figure comes first.
    of_what = shown if beside.data == data_name else f"{published.data_sets[beside.data]} {shown}"
    return replace(
        column,
        published=beside,
        is_comparable=is_comparable,
        published_heading=PUBLISHED if is_comparable else f"{of_what}{OF_OTHERS}",
    )


def _place_of(beside: PublishedColumn, spec: TableSpec, paper: PublishedTable, data_name: str) -> str:
    """The only column beside which a published one stands: one with its own metric, preferably without a protocol."""
    fitting = [key for key in spec.columns if paper.column_beside(_published_key(key), data_name=data_name) == beside]
    return min(fitting, key=lambda key: (_published_key(key) != beside.measured, _published_key(key) != key))


def published_figures(
    spec: TableSpec, columns: Collection[Column], paper: PublishedTable | None
) -> dict[tuple[str, str], float]:
    """Returns (row, column key) -> the figure of the paper's table beside it, if there is one."""
    found = {}
    for column in columns:
        for row in spec.rows if paper and column.published else ():
            assert paper is not None
            assert column.published is not None
            value = paper.rows.get(spec.published_rows.get(row, row), {}).get(column.published.name)
            if value is not None:
                found[row, column.key] = value
    return found
