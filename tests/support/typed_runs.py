"""`reskd` as a person types it, on a sweep file and a store of a test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.store.store import Store

WAIT_S = 360


@dataclass(frozen=True)
class Place:
    """A sweep file and a store, and the command that brings the one to the other."""

    sweep: Path
    store: Store

    def command(self, name: str = "run", *options: str) -> list[str]:
        program = Path(sys.executable).with_name("reskd")
        return [str(program), name, str(self.sweep), "--store", str(self.store.home), *options]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def call(self, name: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name, *options), capture_output=True, text=True, timeout=WAIT_S, env=os.environ | variables
        )

    def prepared(self) -> Prepared:
        return prepare(self.sweep, store=self.store)

    def hashes(self) -> dict[str, str]:
        """Hash of weights and buffers of every finished step."""
        done = {step_id: self.store.done(step_id) for step_id in self.store.step_ids()}
        return {step_id: record["state_hash"] for step_id, record in done.items() if record}

    def step_of(self, row: str) -> str:
        return next(step.id for step in self.prepared().steps.values() if (row, 0) in step.cells)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + WAIT_S
    while not holds():
        assert process.poll() is None, f"ended too early:\n{process.communicate()[0]}"
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)
