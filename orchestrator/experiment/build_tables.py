"""Builds a sweep's tables as files and on the terminal, for `reskd tables` and for the end of `reskd run`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.one_schedule import joined_name
from orchestrator.experiment.report_page import page_path, write_or_warn, write_page
from orchestrator.experiment.sweep_figures import with_figures
from orchestrator.experiment.sweep_tables import sweep_tables
from orchestrator.store.imported_speeds import read_bench
from orchestrator.store.step_record import StepRecord, records_from_store
from orchestrator.tables.check import findings, stale
from orchestrator.tables.side_by_side import join_tables
from orchestrator.tables.table import Table
from orchestrator.tables.write_files import render, report_files, table_dict, write_report
from orchestrator.tracking.run_diff import unlike_store
from reskd.errors import BadInput, ReskdError
from reskd.files import write_atomic

if TYPE_CHECKING:
    from orchestrator.tracking.publish import Publisher

Source = Literal["mlflow", "store"]
NAME_FILE = "sweep.txt"
"""Holds a sweep's whole name, with its changes, where the folder has a short one."""


def rebuild(
    prepared: Sequence[Prepared],
    *,
    source: Source,
    tracking_uri: str | None,
    links: str | None,
    check: bool,
    as_json: bool,
    console: Console,
) -> int:
    """Build each sweep's tables, then join those with the same key. Returns 1 if a check finds something, else 0.

    Raises ReskdError if nothing of any of the sweeps was ever run, since their tables would only say so entry by entry.
    """
    if links is not None and not links.startswith(("http://", "https://")):
        raise BadInput(f"--links: {links!r} is no address of a web server; write it as http://127.0.0.1:5000")
    read: list[tuple[Publisher | None, Mapping[str, StepRecord]]] = []
    for one in prepared:
        publisher = _publisher(one, tracking_uri, links) if source == "mlflow" else None
        read.append((publisher, publisher.records() if publisher else records_from_store(one.store, one.steps)))
    if not check and not any(records or _has_figures(one) for one, (_, records) in zip(prepared, read, strict=True)):
        paths = " ".join(str(one.sweep.path) for one in prepared)
        raise ReskdError(f"{paths}: none of it was ever run, so there are no tables; start it: reskd run {paths}")
    groups: list[list[Table]] = []
    found: list[str] = []
    for one, (publisher, records) in zip(prepared, read, strict=True):
        built = build_tables(one, records)
        groups.append(built)
        if check:
            may_stop = one.sweep.early_stopping.rows if one.sweep.early_stopping else ()
            folder = one.store.tables(one.sweep.name)
            asked = {cell.row: cell.recipe.test_protocol.name for cell in one.sweep.cells}
            files = report_files(built)
            found += findings(built, one.sweep.tables, files, folder, asked=asked, may_stop=may_stop)
            if publisher:
                found += unlike_store(records, records_from_store(one.store, one.steps))
        else:
            _write(one, built, records, publisher=publisher)
    joined = join_tables(groups)
    if joined:
        folder = _joined_folder(prepared)
        if check:
            found += stale(report_files(joined), folder)
        else:
            _write_joined(joined, folder, [publisher for publisher, _ in read if publisher])
    if check:
        _say(found, num_tables=sum(map(len, groups)) + len(joined), as_json=as_json, console=console)
        return 1 if found else 0
    shown = [table for built in groups for table in built] + joined
    if as_json:
        # One line per table, since indented JSON of thousands of entries takes more than a second.
        print("[" + ",\n".join(json.dumps(table_dict(table)) for table in shown) + "]")
        return 0
    _show(shown, prepared, has_joined=bool(joined), console=console)
    return 0


def _has_figures(prepared: Prepared) -> bool:
    """Whether the store knows anything of a sweep that a table shows, published or not."""
    return any(prepared.store.is_started(step_id) for step_id in prepared.steps) or bool(read_bench(prepared.store))


def build_tables(prepared: Prepared, records: Mapping[str, StepRecord]) -> list[Table]:
    """The sweep's tables with the figures that they ask for."""
    return with_figures(sweep_tables(prepared, records), prepared)


def write_tables(
    prepared: Sequence[Prepared],
    records: Sequence[Mapping[str, StepRecord]],
    *,
    publishers: Sequence[Publisher],
    console: Console,
) -> list[Table]:
    """Write the tables at the end of a run: as files, to MLflow, and on the terminal. Returns them."""
    groups = [build_tables(one, found) for one, found in zip(prepared, records, strict=True)]
    for one, built, found, publisher in zip(prepared, groups, records, publishers, strict=True):
        _write(one, built, found, publisher=publisher)
    joined = join_tables(groups)
    if joined:
        _write_joined(joined, _joined_folder(prepared), publishers)
    shown = [table for built in groups for table in built] + joined
    _show(shown, prepared, has_joined=bool(joined), console=console)
    return shown


def _publisher(prepared: Prepared, tracking_uri: str | None, links: str | None) -> Publisher:
    from orchestrator.tracking.publish import Publisher  # MLflow, which tables from the store can do without

    return Publisher(
        prepared.store, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri, ui_address=links
    )


def _write(
    prepared: Prepared, built: Sequence[Table], records: Mapping[str, StepRecord], *, publisher: Publisher | None
) -> None:
    folder = prepared.store.tables(prepared.sweep.name)
    write_report(built, folder)
    write_or_warn(lambda: write_page(prepared, tables=built, records=records), what=prepared.sweep.name)
    if folder.name != prepared.sweep.name:  # the folder's own name does not say what --set has changed
        write_atomic(folder / NAME_FILE, f"{prepared.sweep.name}\n")
    if publisher is not None:
        publisher.log_report(folder)
        publisher.register(records)


def _write_joined(joined: Sequence[Table], folder: Path, publishers: Sequence[Publisher]) -> None:
    write_report(joined, folder)
    for publisher in publishers:
        publisher.log_joined(folder)


def _show(tables: Sequence[Table], prepared: Sequence[Prepared], *, has_joined: bool, console: Console) -> None:
    for table in tables:
        console.print(render(table))
    for one in prepared:
        console.print(f"tables: {one.store.tables(one.sweep.name)}")
    for one in prepared:
        if page_path(one).is_file():
            console.print(f"report: {page_path(one)}", markup=False, soft_wrap=True)
    if has_joined:
        console.print(f"tables: {_joined_folder(prepared)}")


def _joined_folder(prepared: Sequence[Prepared]) -> Path:
    return prepared[0].store.tables(joined_name([one.sweep.name for one in prepared]))


def _say(found: Sequence[str], *, num_tables: int, as_json: bool, console: Console) -> None:
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for line in found:
        console.print(line, style="red", markup=False, soft_wrap=True, highlight=False)
    if not found:
        console.print(f"{num_tables} tables: up to date, complete and as expected")
