"""A job's config where no job is started."""

from __future__ import annotations

from orchestrator.run.lanes.job_config import JobConfig
from reskd.recipe import Recipe
from reskd.runtime.execution import Execution
from reskd.training.member_spec import MemberSpec


def config(name: str, *members: str) -> JobConfig:
    """The config of a job whose trial is never started."""
    return JobConfig(
        id=name,
        label=f"seed 0: {name}",
        members=tuple(MemberSpec(step_id=step_id, recipe=Recipe(), provenance={}) for step_id in members),
        store="",
        owner_id="me",
        teacher=None,
        manifest="",
        early_stopping=None,
        root="",
        threads=1,
        loader_workers=0,
        execution=Execution(),
        num_workers=1,
        cpus_per_worker=1,
        gpus_per_worker=0,
        ray_folder="",
        patience_s=60.0,
        on_cluster=False,
    )
