"""`reskd plan`: shows the jobs of a run and estimates their cost. It starts nothing."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweeps
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
    SweepFiles,
)
from reskd.errors import BadInput


def plan(
    sweep: SweepFiles,
    changes: Changes = None,
    store: StoreFolder = None,
    no_cohorts: NoCohorts = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Plan to try failed steps again.")] = False,
    device: Device = None,
    devices: Devices = None,
    clips: ClipsAre = None,
    budget: Budget = None,
    as_json: AsJson = False,
    smoke: Smoke = False,
) -> None:
    """Show what `run` would do, without starting it: the state of each cell, the reason, and the jobs.

    For several sweeps, also show which steps they share.
    """
    from orchestrator.cli.show_overlap import show_overlap, show_together
    from orchestrator.cli.show_plan import show_plan
    from orchestrator.experiment.bound_sweep import check_steps
    from orchestrator.experiment.one_schedule import in_one_schedule
    from orchestrator.experiment.overlap import overlap_of
    from orchestrator.plan.cost_inputs import asked_of

    prepared = open_sweeps(sweep, changes, open_store(store), no_cohorts=no_cohorts, smoke=smoke)
    assumed = asked_of(device=device, devices=devices, clips=clips)
    for one in prepared:
        check_steps(one)
    plans = [(one, one.plan(retry_failed=retry_failed, asked=assumed)) for one in prepared]
    overlap = overlap_of(plans) if len(plans) > 1 else None
    whole, together, apart = None, None, None
    if overlap:
        try:
            whole = in_one_schedule(prepared)
            together = whole.plan(retry_failed=retry_failed, asked=assumed)
        except BadInput as reason:
            apart = str(reason)
    if as_json:
        found = [{**one_plan.to_dict(), **one.look_dict()} for one, one_plan in plans]
        both = (
            {"union": overlap.to_dict(), "together": together and together.to_dict(), "apart": apart} if overlap else {}
        )
        print(json.dumps({"sweeps": found, **both} if overlap else found[0], indent=1))
        return
    for index, (one, one_plan) in enumerate(plans):
        if index:
            console.print()
        show_plan(one, one_plan, console)
    if overlap:
        show_overlap(overlap, console, num_sweeps=len(plans))
        show_together(together, apart, console)
    if whole and together:
        whole.refuse(together.forecast, budget=budget)
        return
    for one, one_plan in plans:
        one.refuse(one_plan.forecast, budget=budget)
