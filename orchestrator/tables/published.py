"""The paper's figures, read from published.yaml: what a table may show beside its own numbers."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml

from orchestrator.spec.strict import naming
from reskd.errors import BadInput
from reskd.protocol import parse_protocol
from reskd.recipe import Resample

TABLE_OPTIONS = ("note", "backbones", "networks", "conditions")
PUBLISHED_FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedColumn:
    """One column of a published table."""

    name: str
    measured: str
    """The measured column beside which it stands: test/mAP, GMACs, clips/s and so on."""
    unit: str
    data: str
    """Key of the data set that it was published for, as in `data.name`."""
    device: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedNetwork:
    """What a published GFLOPs figure is the cost of."""

    model: str
    """A key of reskd.models.catalogue.MODELS."""
    resolution: int
    frames: int
    """Frames of one view."""
    views: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How published figures were obtained, as far as it is known; None for unknown facts."""

    rows: tuple[str, ...] | None = None
    """None: all of the table."""
    columns: tuple[str, ...] | None = None
    protocol: str | None = None
    """A name such as `val-f16-v1x1-r256-c224`: frames, views x crops, short side and crop in pixels."""
    epochs: int | None = None
    resolution: int | None = None
    """Side of the student's input in pixels."""
    resample: str | None = None
    """How frames were resized, as in data.resample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """One published table. `rows` maps row -> column -> value; unknown figures are left out."""

    key: str
    title: str
    source: str
    columns: tuple[PublishedColumn, ...]
    rows: Mapping[str, Mapping[str, float]]
    backbones: Mapping[str, str]
    networks: Mapping[str, Mapping[str, PublishedNetwork]]
    """Row -> GFLOPs column -> the network, if reskd has it."""
    note: str | None = None
    conditions: tuple[Conditions, ...] = ()
    """Each entry holds the known facts for its rows and columns."""

    def column_beside(self, measured: str, *, data_name: str) -> PublishedColumn | None:
        """The published column beside a measured one, of the same data set if there is one.

        If the paper does not have this accuracy, another accuracy is taken. For example, top-1 stands beside mAP. It
        compares no worse than the mAP of another data set.
        """
        columns = [column for column in self.columns if column.data == data_name] or list(self.columns)
        fitting = [column for column in columns if column.measured == measured]
        if not fitting and measured in ("test/top1", "test/mAP"):
            fitting = [column for column in columns if column.measured.startswith("test/")]
        return next(iter(fitting), None)

    def conditions_of(self, row: str, column: str) -> Conditions:
        """All facts that are known about one figure."""
        known = Conditions(rows=(row,), columns=(column,))
        for found in self.conditions:
            if row in (found.rows or self.rows) and column in (found.columns or [each.name for each in self.columns]):
                known = replace(
                    known,
                    protocol=found.protocol or known.protocol,
                    epochs=found.epochs or known.epochs,
                    resolution=found.resolution or known.resolution,
                    resample=found.resample or known.resample,
                )
        return known

    def label(self, row: str) -> str:
        """`LiteEval (MN+RN101)`: the row with its backbones, where they are known."""
        return f"{row} ({self.backbones[row]})" if row in self.backbones else row


@dataclass(frozen=True, slots=True)
class Published:
    """Every published table, and what the data sets are called in prose."""

    tables: Mapping[str, PublishedTable]
    data_sets: Mapping[str, str]

    def table(self, key: str) -> PublishedTable:
        """BadInput where the paper has no such table."""
        if key not in self.tables:
            raise BadInput(f"published: {key!r} is not a published table; choose one of {', '.join(self.tables)}")
        return self.tables[key]


PEERS = "table1"
"""The published table that compares methods by accuracy and cost."""


def published_peers(
    published: Published, *, measured: str, data_name: str
) -> tuple[tuple[tuple[str, float, float], ...], str]:
    """(method, GMACs, accuracy) of methods published for exactly this data set and metric, and the source; else empty.

    The paper's GFLOPs are multiply-accumulates, as our GMACs are.
    """
    table = published.tables.get(PEERS)
    columns = [column for column in table.columns if column.data == data_name] if table else []
    accuracy = next((column.name for column in columns if column.measured == measured), None)
    cost = next((column.name for column in columns if column.measured == "GMACs"), None)
    if table is None or accuracy is None or cost is None:
        return (), ""
    peers = [
        (row, values[cost], values[accuracy]) for row, values in table.rows.items() if {cost, accuracy} <= set(values)
    ]
    return tuple(peers), table.source


@cache
def load_published(path: Path = PUBLISHED_FILE) -> Published:
    """Read and check the file; BadInput names the table, the key and the nearest known one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file of published figures") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not valid YAML ({error})") from error
    content = _fields(content, str(path), required=("data_sets", "tables"))
    data_sets = {str(key): str(name) for key, name in content["data_sets"].items()}
    tables = {
        str(key): _table(str(key), table, f"{path}: {key}", data_sets) for key, table in content["tables"].items()
    }
    return Published(tables, data_sets)


def _table(key: str, content: object, where: str, data_sets: Collection[str]) -> PublishedTable:
    table = _fields(content, where, required=("title", "source", "columns", "rows"), optional=TABLE_OPTIONS)
    columns = tuple(_column(str(name), column, where, data_sets) for name, column in table["columns"].items())
    names = [column.name for column in columns]
    rows = {str(row): _row(values, f"{where}: row {row!r}", names) for row, values in table["rows"].items()}
    backbones = {str(row): str(name) for row, name in table.get("backbones", {}).items()}
    for row in backbones:
        _known(row, rows, f"{where}: backbones")
    networks = {str(row): _networks(row, content, where, rows) for row, content in table.get("networks", {}).items()}
    return PublishedTable(
        key=key,
        title=str(table["title"]),
        source=str(table["source"]),
        columns=columns,
        rows=rows,
        backbones=backbones,
        networks=networks,
        note=table.get("note"),
        conditions=tuple(
            _conditions(each, f"{where}: conditions[{index}]", rows=rows, columns=names)
            for index, each in enumerate(table.get("conditions", []))
        ),
    )


def _conditions(content: object, where: str, *, rows: Collection[str], columns: Collection[str]) -> Conditions:
    found = _fields(content, where, optional=("rows", "columns", "protocol", "epochs", "resolution", "resample"))
    for part, known in (("rows", rows), ("columns", columns)):
        for name in found.get(part, []):
            _known(name, known, f"{where}: {part}")
    if "protocol" in found:
        with naming(f"{where}: protocol"):
            protocol = parse_protocol(str(found["protocol"]))
        if None in (protocol.short_side, protocol.crop_size):
            raise BadInput(f"{where}: protocol: {protocol.name!r} names no short side or no crop; add -r256-c224 or so")
    if found.get("resample", "opencv") not in get_args(Resample):
        raise BadInput(f"{where}: resample: {found['resample']!r} is not one of {', '.join(get_args(Resample))}")
    for name in ("epochs", "resolution"):
        value = found.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadInput(f"{where}: {name}: {value!r} is not a positive whole number")
    return Conditions(**found | {part: tuple(found[part]) for part in ("rows", "columns") if part in found})


def _column(name: str, content: object, where: str, data_sets: Collection[str]) -> PublishedColumn:
    where = f"{where}: column {name!r}"
    column = _fields(content, where, required=("measured", "unit", "data"), optional=("device",))
    _known(column["data"], data_sets, f"{where}: data")
    return PublishedColumn(name=name, **column)


def _row(content: object, where: str, columns: Collection[str]) -> dict[str, float]:
    values = _fields(content, where, optional=columns)
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"{where}: {name}: {value!r} is not a number; leave the key out where nothing is known")
    return {name: float(value) for name, value in values.items()}


def _networks(
    row: str, content: object, where: str, rows: Mapping[str, Collection[str]]
) -> dict[str, PublishedNetwork]:
    where = f"{where}: networks"
    _known(row, rows, where)
    networks = {}
    for column, network in _fields(content, f"{where}: {row!r}", optional=rows[row]).items():
        what = f"{where}: {row!r}: {column}"
        values = _fields(network, what, required=("model", "resolution", "frames"), optional=("views",))
        networks[column] = PublishedNetwork(**values)
    return networks


def _fields(
    content: object, where: str, *, required: Collection[str] = (), optional: Collection[str] = ()
) -> dict[str, Any]:
    """The mapping itself, once it is known to hold the right keys."""
    if not isinstance(content, dict):
        raise BadInput(f"{where}: expected a mapping, got {content!r}")
    for name in content:
        _known(name, [*required, *optional], where)
    for name in required:
        if name not in content:
            raise BadInput(f"{where}: {name!r} is missing")
    return content


def _known(name: object, known: Collection[str], where: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(str(name), list(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}"
        raise BadInput(f"{where}: {name!r} is not known; {hint}")
