"""`reskd run`: trains what is missing, publishes it, rebuilds the tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.console import console, program_name
from orchestrator.cli.inputs import open_store, open_sweeps, say_taken
from orchestrator.cli.options import Budget, Changes, NoCohorts, Smoke, StoreFolder, SweepFiles, TrackingUri
from orchestrator.run.notify import OPTION, VARIABLE, Notifier, addresses
from reskd.errors import ReskdError, reason_of

if TYPE_CHECKING:
    from orchestrator.experiment.bound_sweep import Prepared
    from orchestrator.run.controller import Outcome
    from orchestrator.store.step_record import StepRecord
    from orchestrator.tables.table import Table
    from orchestrator.tracking.publish import Publisher


def run(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
    no_cohorts: NoCohorts = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed steps again.")] = False,
    budget: Budget = None,
    smoke: Smoke = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Start Ray's dashboard too, on this machine's loopback address.")
    ] = False,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            OPTION,
            metavar="URL",
            help=f"Tell an address of apprise (mailto://, slack://, json://, ...) when the run ends or a job fails. "
            f"Repeatable; {VARIABLE} holds further ones.",
        ),
    ] = None,
) -> None:
    """Train what is missing, publish it to MLflow, and rebuild the tables.

    Several sweeps run in one schedule, in which a shared step is trained once. The same command again resumes what was
    interrupted and trains rows or seeds that were added.
    """
    from orchestrator.experiment.one_schedule import in_one_schedule
    from orchestrator.run.cluster.shared_paths import refuse_relative_store
    from orchestrator.run.ray_address import VARIABLE, cluster_address, settled_address

    notifier = Notifier(addresses(notify or []))
    cluster = cluster_address()
    if cluster is not None:
        cluster = os.environ[VARIABLE] = settled_address(cluster, where=VARIABLE)
        refuse_relative_store(store)
    if smoke:
        tracking_uri = None  # its runs are no results, so they stay in its own store
    say_taken(store=store, tracking_uri=tracking_uri, cluster=cluster)
    prepared = open_sweeps(sweep, changes, open_store(store), no_cohorts=no_cohorts, smoke=smoke)

    from orchestrator.cli.show_outcome import outcome_text, show_outcome
    from orchestrator.cli.show_plan import show_plan
    from orchestrator.run.controller import run_sweeps  # Ray and MLflow, once the files are known to be good
    from orchestrator.run.display.words import show_look

    whole = in_one_schedule(prepared)
    before = whole.plan(retry_failed=retry_failed)
    for one in prepared if len(prepared) > 1 else ():
        show_look(one, console)
    show_plan(whole, before, console, cells=False)
    whole.refuse(before.forecast, budget=budget)
    try:
        prepared, outcome, publishers = run_sweeps(
            prepared,
            tracking_uri=tracking_uri,
            retry_failed=retry_failed,
            console=console,
            dashboard=dashboard,
            notifier=notifier,
        )
        tables = [] if outcome.interrupted else _write_tables(prepared, outcome, publishers)
        if outcome.interrupted:
            _write_pages(prepared)
    except Exception as error:
        notifier.send(f"reskd: {whole.sweep.name} ended by an error", reason_of(error), is_failure=True)
        raise
    whole = in_one_schedule(prepared)
    show_outcome(whole, outcome, publishers, console, program=program_name())
    notifier.send(*outcome_text(whole, outcome, tables), is_failure=outcome.exit_code == 1)
    raise typer.Exit(outcome.exit_code)


def _write_pages(prepared: list[Prepared]) -> None:
    """Write the pages of an interrupted run, so that none of them says that it still trains."""
    from orchestrator.experiment.report_page import page_path, write_or_warn, write_page

    for one in prepared:
        if write_or_warn(partial(write_page, one), what=one.sweep.name):
            console.print(f"report: {page_path(one)}", markup=False, soft_wrap=True)


def _write_tables(prepared: list[Prepared], outcome: Outcome, publishers: list[Publisher]) -> list[Table]:
    """Write the tables of each sweep, unless another run still trains its steps. That run will write them."""
    from orchestrator.experiment.build_tables import write_tables

    ours = [pair for pair in zip(prepared, publishers, strict=True) if not outcome.held.keys() & pair[0].steps.keys()]
    if not ours:
        return []
    records = [_records(one, publisher) for one, publisher in ours]
    return write_tables(
        [one for one, _ in ours], records, publishers=[publisher for _, publisher in ours], console=console
    )


def _records(prepared: Prepared, publisher: Publisher) -> Mapping[str, StepRecord]:
    """Step records from MLflow, or from the store if MLflow lacks something: an MLflow fault must not fail the run."""
    from orchestrator.store.step_record import records_from_store

    try:
        if publisher.publish():
            return publisher.records()
    except ReskdError as error:
        console.print(f"MLflow: {error}", style="yellow", markup=False)
    console.print("MLflow does not have everything: these tables are from the store; `reskd publish` writes the rest")
    return records_from_store(prepared.store, prepared.steps)
