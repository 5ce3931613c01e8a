"""The command line. Exit codes: 0 done, 1 something failed, 2 bad input, 3 interrupted and resumable."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.commands.ask import ask_app
from orchestrator.cli.commands.bench import bench_app
from orchestrator.cli.commands.cluster import add_cluster_commands, show_jobs
from orchestrator.cli.commands.data import data_app
from orchestrator.cli.commands.evaluate import evaluate
from orchestrator.cli.commands.export import export, predict
from orchestrator.cli.commands.figures import figures_app
from orchestrator.cli.commands.flops import flops
from orchestrator.cli.commands.setup import setup_app
from orchestrator.cli.commands.stored import classes, compare
from orchestrator.cli.options import (
    AsJson,
    Budget,
    Changes,
    ClipsAre,
    Device,
    Devices,
    NoCohorts,
    Smoke,
    StoreFolder,
    SweepFile,
    SweepFiles,
    TrackingUri,
    console,
    open_store,
    open_sweep,
)
from orchestrator.run.console import make_console
from reskd.errors import BadInput, ReskdError

if TYPE_CHECKING:
    from orchestrator.experiment.bound_sweep import Prepared
    from orchestrator.run.controller import Outcome
    from orchestrator.store.folder import Store
    from orchestrator.store.step_record import StepRecord
    from orchestrator.tracking.publish import Publisher

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)


@app.command(epilog="Example: reskd plan sweeps/demo.yaml --set seeds=[0]")
def plan(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    no_cohorts: NoCohorts = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Plan failed steps again.")] = False,
    device: Device = None,
    devices: Devices = None,
    clips: ClipsAre = "packed",
    budget: Budget = None,
    as_json: AsJson = False,
    smoke: Smoke = False,
) -> None:
    """Show what `run` would do: each cell's state and why, and the jobs; of several sweeps, what they share too.

    Starts nothing.
    """
    from orchestrator.cli.show_overlap import show_together, show_union
    from orchestrator.cli.show_plan import show_plan
    from orchestrator.experiment.one_schedule import join
    from orchestrator.experiment.overlap import unite
    from orchestrator.plan.cost_inputs import asked_of

    prepared = _open_sweeps(sweep, changes, open_store(store), no_cohorts=no_cohorts, smoke=smoke)
    assumed = asked_of(device=device, devices=devices, clips=clips)
    plans = [(one, one.plan(retry_failed=retry_failed, asked=assumed)) for one in prepared]
    union = unite(plans) if len(plans) > 1 else None
    whole, together, apart = None, None, None
    if union:
        try:
            whole = join(prepared)
            together = whole.plan(retry_failed=retry_failed, asked=assumed)
        except BadInput as reason:
            apart = str(reason)
    if as_json:
        found = [{**one_plan.to_dict(), **one.look_dict()} for one, one_plan in plans]
        both = {"union": union.to_dict(), "together": together and together.to_dict(), "apart": apart} if union else {}
        print(json.dumps({"sweeps": found, **both} if union else found[0], indent=1))
        return
    for index, (one, one_plan) in enumerate(plans):
        if index:
            console.print()
        show_plan(one, one_plan, console)
    if union:
        show_union(union, console, num_sweeps=len(plans))
        show_together(together, apart, console)
    if whole and together:
        whole.refuse(together.forecast, budget=budget)
        return
    for one, one_plan in plans:
        one.refuse(one_plan.forecast, budget=budget)


@app.command(epilog="Example: reskd run sweeps/demo.yaml --store /shared/reskd")
def run(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
    no_cohorts: NoCohorts = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed steps again.")] = False,
    budget: Budget = None,
    smoke: Smoke = False,
) -> None:
    """Train what is missing, publish it, rebuild the tables; of several sweeps in one schedule, which trains once what
    they share. Typed again, it resumes, retries and extends.
    """
    from orchestrator.experiment.one_schedule import join
    from orchestrator.run.ray_address import joins_cluster, refuse_unreachable
    from orchestrator.run.shared_paths import refuse_relative_store

    if joins_cluster():
        refuse_relative_store(store)
        refuse_unreachable(os.environ["RAY_ADDRESS"], where="RAY_ADDRESS")
    prepared = _open_sweeps(sweep, changes, open_store(store), no_cohorts=no_cohorts, smoke=smoke)

    from orchestrator.cli.show_plan import show_outcome, show_plan
    from orchestrator.run.board import show_look
    from orchestrator.run.controller import run_sweeps  # Ray and MLflow, once the files are known to be good

    if smoke:
        tracking_uri = None  # its runs are no results, so they stay in its own store
    whole = join(prepared)
    before = whole.plan(retry_failed=retry_failed)
    for one in prepared if len(prepared) > 1 else ():
        show_look(one, console)
    show_plan(whole, before, console, cells=False)
    whole.refuse(before.forecast, budget=budget)
    prepared, outcome, publishers = run_sweeps(
        prepared, tracking_uri=tracking_uri, retry_failed=retry_failed, console=console
    )
    if not outcome.interrupted:
        _write_tables(prepared, outcome, publishers)
    show_outcome(join(prepared), outcome, publishers, console, program=_program())
    raise typer.Exit(outcome.exit_code)


def _write_tables(prepared: list[Prepared], outcome: Outcome, publishers: list[Publisher]) -> None:
    """Of the sweeps of which no other run holds a step, which will write them itself."""
    from orchestrator.experiment.build_tables import write_tables

    ours = [pair for pair in zip(prepared, publishers, strict=True) if not outcome.held.keys() & pair[0].steps.keys()]
    if ours:
        records = [_records(one, publisher) for one, publisher in ours]
        write_tables(
            [one for one, _ in ours], records, publishers=[publisher for _, publisher in ours], console=console
        )


def _open_sweeps(
    paths: list[Path], changes: list[str] | None, store: Store, *, no_cohorts: bool = False, smoke: bool = False
) -> list[Prepared]:
    """The sweeps, each once; or their smoke forms, in a store of their own and with the changes in their files."""
    from orchestrator.experiment.one_schedule import refuse_same_names

    paths = list(dict.fromkeys(paths))
    refuse_same_names(paths)
    if smoke:
        from orchestrator.experiment.smoke import cut_down

        small = cut_down(paths, changes=changes or [], store=store)
        for path, (cut, _) in zip(paths, small, strict=True):
            console.print(f"smoke test of {path}: {cut}", markup=False, soft_wrap=True, highlight=False)
        return [open_sweep(cut, None, scratch, no_cohorts=no_cohorts) for cut, scratch in small]
    return [open_sweep(path, changes, store, no_cohorts=no_cohorts) for path in paths]


def _records(prepared: Prepared, publisher: Publisher) -> Mapping[str, StepRecord]:
    """From MLflow; from the store where MLflow misses something, which the training must not suffer from."""
    from orchestrator.store.step_record import records_from_store

    try:
        if publisher.publish():
            return publisher.records()
    except ReskdError as error:
        console.print(f"MLflow: {error}", style="yellow", markup=False)
    console.print("MLflow does not have everything: these tables are from the store; `reskd publish` makes up for it")
    return records_from_store(prepared.store, prepared.steps)


def _program() -> str:
    """How this program was called, so that the commands it prints can be typed where the person is."""
    called = Path(sys.argv[0])
    on_path = shutil.which(called.name)
    if on_path is not None and Path(on_path).resolve() == called.resolve():
        return called.name
    return os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called)


@app.command(epilog="Example: reskd status sweeps/demo.yaml")
def status(
    sweep: Annotated[Path | None, typer.Argument(help="A sweep file, such as sweeps/demo.yaml.")] = None,
    changes: Changes = None,
    store: StoreFolder = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Ray's dashboard, http://host:8265: the jobs of that cluster.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Each step's state: epochs, last metrics, who trains it, damaged clips, why it failed. With --address: a
    cluster's submitted jobs, of all sweeps or of the one named.
    """
    if address is not None:
        show_jobs(address, sweep=sweep.name if sweep else None, as_json=as_json)
        return
    if sweep is None:
        raise BadInput("status: name a sweep file, or a cluster's dashboard with --address")
    from orchestrator.cli.show_plan import show_status, status_rows

    prepared = open_sweep(sweep, changes, open_store(store))
    if as_json:
        print(json.dumps(status_rows(prepared), indent=1))
    else:
        show_status(prepared, console)


@app.command(epilog="Example: reskd tables sweeps/demo.yaml --check")
def tables(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
    source: Annotated[str, typer.Option("--from", help="mlflow or store: where the numbers come from.")] = "mlflow",
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 when one is stale, lacks a cell, or is not as expected."),
    ] = False,
    links: Annotated[
        str | None,
        typer.Option("--links", metavar="URL", help="Where `reskd ui` will be, for the cells' links to their runs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild the tables from their MLflow runs, or from the store; of several sweeps also those that they share."""
    from orchestrator.experiment.build_tables import rebuild

    if source not in ("mlflow", "store"):
        raise BadInput(f"--from: {source!r} is neither mlflow nor store")
    prepared = _open_sweeps(sweep, changes, open_store(store))
    code = rebuild(
        prepared,
        source="store" if source == "store" else "mlflow",
        tracking_uri=tracking_uri,
        links=links,
        check=check,
        as_json=as_json,
        console=console,
    )
    raise typer.Exit(code)


@app.command(epilog="Example: reskd publish sweeps/demo.yaml --tracking-uri http://mlflow:5000")
def publish(
    sweep: SweepFile, changes: Changes = None, store: StoreFolder = None, tracking_uri: TrackingUri = None
) -> None:
    """Write everything the store holds of a sweep to MLflow; what is there already is left as it is."""
    from orchestrator.cli.show_plan import browse_line
    from orchestrator.experiment.build_tables import write_tables
    from orchestrator.tracking.publish import Publisher

    prepared = open_sweep(sweep, changes, open_store(store))
    publisher = Publisher(prepared.store, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
    if not publisher.publish():
        raise ReskdError(f"{prepared.sweep.path}: MLflow did not take everything; see the warning above, then repeat")
    write_tables([prepared], [publisher.records()], publishers=[publisher], console=console)
    console.print(browse_line(prepared, publisher, program=_program()), markup=False, soft_wrap=True)


@app.command(epilog="Example: reskd ui --port 5001")
def ui(
    store: StoreFolder = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Serve MLflow on the store's database and say where to look."""
    from orchestrator.tracking.ui import serve

    raise typer.Exit(serve(open_store(store), port=port, console=console))


@app.command(epilog="Example: reskd rm --unused sweeps/demo.yaml")
def rm(
    step: Annotated[list[str] | None, typer.Argument(help="Step ids, or their first letters.")] = None,
    unused: Annotated[Path | None, typer.Option("--unused", help="Every step that this sweep does not need.")] = None,
    store: StoreFolder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete steps from the store, after asking. MLflow's runs stay."""
    from orchestrator.cli.show_plan import steps_to_remove

    if bool(step) == bool(unused):
        raise BadInput("rm: give step ids, or --unused and a sweep file")
    where = open_store(store)
    keep = None
    if unused:
        prepared = open_sweep(unused, None, where)
        if prepared.unseen:  # its ids would be provisional, and every step would look unused
            raise BadInput(f"{unused}: data not seen here: {', '.join(prepared.unseen)}; so what it needs is unknown")
        keep = prepared.steps
    doomed = steps_to_remove(where, step or [], keep=keep)
    if not doomed:
        console.print("nothing to delete")
        return
    for step_id in doomed:
        console.print(f"{step_id}  {where.place(step_id)}")
    if not yes and not typer.confirm(f"Delete {len(doomed)} step(s) for good?"):
        raise typer.Exit(0)
    for step_id in doomed:
        where.remove(step_id)
    console.print(f"deleted {len(doomed)} step(s)")


# After the commands above, in the order of a working day, since `--help` lists them so.
add_cluster_commands(app)
app.command("eval", epilog="Example: reskd eval sweeps/demo.yaml --views 10x3 --frames 32")(evaluate)
app.command("compare", epilog="Example: reskd compare 3f9a 77c1 --protocol val-f32-v10x3")(compare)
app.command("classes", epilog="Example: reskd classes 3f9a --csv tables")(classes)
app.command(epilog="Example: reskd flops swin3d_s --resolution 112 --frames 32 --views 12")(flops)
app.command(epilog="Example: reskd export 3f2a --format onnx")(export)
app.command(epilog="Example: reskd predict 3f2a ~/videos --csv classes.csv")(predict)
app.add_typer(
    figures_app,
    name="figures",
    help="What steps look at; a sweep's curves, gains by class and costs.",
    epilog="Example: reskd figures gradcam 3f2a 77c1",
)
app.add_typer(
    bench_app,
    name="bench",
    help="Measurements of this and other machines.",
    epilog="Example: reskd bench import h200.json",
)
app.add_typer(ask_app)
app.add_typer(setup_app)
app.add_typer(data_app, name="data", help="Make the demo's videos, check your own.")


def main() -> None:
    """The console script: errors that a person can mend are one message, never a traceback."""
    # Plans and tables of thousands of steps are many small objects that live to the end: looking through them again
    # and again took a fifth of a command's time where it was measured.
    gc.set_threshold(100_000, 50, 100)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    error_console = make_console(stderr=True)
    try:
        app()
    except BadInput as error:
        error_console.print(f"reskd: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except (ReskdError, ConnectionError) as error:  # the latter from a store in S3 that went away
        error_console.print(f"reskd: {error}", markup=False, soft_wrap=True)
        sys.exit(1)
    except SystemExit as stop:  # typer turns Ctrl-C into 130
        sys.exit(3 if stop.code == 130 else stop.code)
