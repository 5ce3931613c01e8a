"""The columns of one table: what they are headed, and which of the paper's figures stand beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from orchestrator.spec.columns import plain_key, protocol_in, quantity_of
from orchestrator.spec.sweep import Sweep, TableSpec
from orchestrator.tables.published import Published, PublishedColumn, PublishedTable
from orchestrator.tables.table import Column
from reskd.errors import BadInput


def check_tables(sweep: Sweep, published: Published) -> None:
    """BadInput for published tables, rows or figures that the paper has not."""
    for key, spec in sweep.tables.items():
        if spec.published is None:
            continue
        where = f"{sweep.path}: 'tables.{key}"
        if spec.published not in published.tables:
            raise BadInput(f"{where}.published' names {spec.published!r}; there are {', '.join(published.tables)}")
        paper = published.tables[spec.published]
        for row in spec.published_rows.values():
            if row not in paper.rows:
                raise BadInput(f"{where}.published_rows' names {row!r}; there are {', '.join(paper.rows)}")
        _check_expectations(sweep, spec, paper, where)


def _check_expectations(sweep: Sweep, spec: TableSpec, paper: PublishedTable, where: str) -> None:
    """An expectation about a published figure needs that figure; of `row` it is about those that have one."""
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
    """What a column's published figures are of: `test/top1` for `test/val-f32-v10x3/top1`."""
    return quantity_of(key).published_as or plain_key(key)


def make_column(
    key: str, spec: TableSpec, paper: PublishedTable | None, data_names: Collection[str], published: Published
) -> Column:
    """The column with its headings; a difference only where a row without teacher can have the metric too."""
    quantity, protocol = quantity_of(key), protocol_in(key)
    column = Column(
        key=key,
        heading=f"{quantity.heading}, {protocol}" if protocol else quantity.heading,
        unit=quantity.unit,
        delta_to=spec.delta_to if quantity.ranks_rows else None,
    )
    data_name = next(iter(data_names)) if len(data_names) == 1 else ""
    beside = paper.column_beside(_published_key(key), data_name=data_name) if paper else None
    if paper is None or beside is None or key != _place_of(beside, spec, paper, data_name):
        return column
    is_comparable = beside.data == data_name and beside.measured == _published_key(key)
    theirs = quantity_of(beside.measured)
    shown = theirs.heading.removesuffix(f" ({theirs.unit})") if theirs.is_test else beside.measured
    # MLflow cuts long headings at their end, so whose figure it is comes first.
    of_what = shown if beside.data == data_name else f"{published.data_sets[beside.data]} {shown}"
    return replace(
        column,
        published=beside,
        is_comparable=is_comparable,
        published_heading="published" if is_comparable else f"{of_what}, published",
    )


def _place_of(beside: PublishedColumn, spec: TableSpec, paper: PublishedTable, data_name: str) -> str:
    """The one column that a published one stands beside: its own metric first, then each step's own protocol."""
    fitting = [key for key in spec.columns if paper.column_beside(_published_key(key), data_name=data_name) == beside]
    return min(fitting, key=lambda key: (_published_key(key) != beside.measured, _published_key(key) != key))


def published_figures(
    spec: TableSpec, columns: Collection[Column], paper: PublishedTable | None
) -> dict[tuple[str, str], float]:
    """(row, column key) -> the figure of the paper's table beside it, where there is one."""
    found = {}
    for column in columns:
        for row in spec.rows if paper and column.published else ():
            assert paper is not None
            assert column.published is not None
            value = paper.rows.get(spec.published_rows.get(row, row), {}).get(column.published.name)
            if value is not None:
                found[row, column.key] = value
    return found
