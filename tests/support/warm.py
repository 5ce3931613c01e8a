"""Processes that are copies of one that has loaded everything already, since loading takes a process ten seconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext

TRAINING = ("tests.support.training", "sklearn.metrics")
COMMANDS = (
    *TRAINING,
    "orchestrator.cli.main",
    "orchestrator.experiment.build_tables",
    "orchestrator.run.controller",
    "orchestrator.run.lanes.trial",
    "orchestrator.tracking.registry",
)


def copies(loaded: Sequence[str]) -> ForkServerContext:
    """A context whose processes have these modules. The first call of a test process decides which ones."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(loaded))
    return context
