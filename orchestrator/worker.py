"""What runs in each of a job's data-parallel workers: reskd's own training, with the store as its sink."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from orchestrator.store import LeasedSink, LeaseLost
from orchestrator.sweep import recipe_from_dict
from reskd.data.manifest import read_manifest
from reskd.errors import ReskdError
from reskd.train import EpochReport, MemberSpec, fit_cohort
from reskd.workers import joined

logger = logging.getLogger(__name__)


def train_loop(config: dict[str, Any]) -> None:
    """Train one job's members; `config` is what orchestrator.launch.job_config made.

    A mistake that trying again cannot mend is recorded as each member's failure and ends the job; whatever else is
    raised (a lost node, a missing share) makes Ray start the workers again, and they resume from the store.
    """
    torch.set_num_threads(config["threads"])
    sink = LeasedSink(Path(config["store"]), owner_id=config["owner"])
    workers = joined(ray.train.torch.get_device())
    members = [
        MemberSpec(member["step_id"], recipe_from_dict(member["recipe"]), member["provenance"])
        for member in config["members"]
        if sink.failure(member["step_id"]) is None
    ]
    members = workers.from_first(members)  # one worker may already see what another does not
    if any(not sink.holds(member.step_id) for member in members):
        logger.warning("job %s: its steps belong to another run by now; leaving", config["job"])
        return
    if not members:
        return

    def report(epoch: EpochReport) -> None:
        speeds = [metrics["perf/clips_per_s"] for metrics in epoch.metrics.values()]
        ray.train.report(
            {"epoch": epoch.epoch, "num_epochs": epoch.num_epochs, "clips_per_s": speeds[0] if speeds else 0.0}
        )

    try:
        fit_cohort(
            members,
            manifest=read_manifest(Path(config["manifest"])),
            root=Path(config["root"]),
            sink=sink,
            workers=workers,
            teacher_weights=Path(config["teacher"]) if config["teacher"] else None,
            loader_workers=config["loader_workers"],
            on_epoch_end=report,
        )
    except LeaseLost:
        raise
    except ReskdError as error:
        logger.error("job %s cannot be trained: %s", config["job"], error)
        if workers.is_first:
            record = {"reason": str(error), "traceback": traceback.format_exc(), "epoch": None}
            for member in members:
                if not sink.is_finished(member.step_id):
                    sink.fail(member.step_id, record)
