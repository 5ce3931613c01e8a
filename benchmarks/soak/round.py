"""One round: a sweep is trained into an empty store while it is attacked, and the store is compared at the end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.attacks import ATTACKS, Target
from benchmarks.soak.servers import Server
from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.store.open import store_of
from reskd.files import Json

LOOK_S = 0.3
PAUSE_S = (1.0, 8.0)
"""Least and most seconds from the moment that work goes on until the next attack."""
NUM_EPOCHS_AFTER = 3
"""An attack's disturbance is the longest silence before one of so many next epochs: one may be all but done."""
MAX_STARTS = 200


@dataclass
class Findings:
    """What a round found. All counts but those of the attacks must be zero."""

    attacks: Counter[str] = field(default_factory=Counter)
    recovered_s: dict[str, list[float]] = field(default_factory=dict)
    """Attack -> its disturbances in seconds."""
    starts: int = 0
    lost: int = 0
    """Finished steps whose record has changed or gone."""
    twice: int = 0
    """Epochs on record that were trained again."""
    different: int = 0
    """Steps whose weights are not those of a run that nobody attacks."""
    left_running: int = 0
    """Runs in MLflow that are RUNNING after the end."""
    unfinished: int = 0
    longest_silence_s: float = 0.0
    """Longest time without a new epoch, attacks that last and starts of the command included."""


class Round:
    """A store under attack. ``hashes``: step id -> the hash of its weights from an undisturbed run."""

    def __init__(
        self,
        sweep: Path,
        store: str,
        *,
        draw: random.Random,
        log: Path,
        environment: Mapping[str, str] | None = None,
        kinds: tuple[str, ...] = tuple(ATTACKS),
        mlflow: Server | None = None,
        bucket: Server | None = None,
        disk: Path | None = None,
    ) -> None:
        self._sweep, self._address, self._draw, self._log, self._kinds = sweep, store, draw, log, kinds
        self._environment = {**os.environ, **(environment or {})}
        self._mlflow, self._bucket, self._disk = mlflow, bucket, disk
        self._lines: dict[str, list[Json]] = {}
        self._done: dict[str, Json] = {}
        self.found = Findings()

    def prepared(self) -> Prepared:
        return prepare(self._sweep, store=store_of(self._address))

    def start(self) -> subprocess.Popen[bytes]:
        """Type the command."""
        words = [sys.executable, "-m", "orchestrator", "run", str(self._sweep), "--store", self._address]
        if self._mlflow is not None:
            words += ["--tracking-uri", self._mlflow.url]
        with self._log.open("ab") as log:
            return subprocess.Popen(words, env=self._environment, stdout=log, stderr=log, start_new_session=True)

    def run(
        self, *, until: float = float("inf"), max_attacks: int | None = None, pause_s: tuple[float, float] = PAUSE_S
    ) -> Findings:
        """Attack until the sweep is trained; after ``until`` (monotonic) or the last attack only let it end."""
        prepared, process = self.prepared(), self.start()
        self.found.starts = 1
        attack_at: float | None = None
        disturbed: tuple[str, list[float]] | None = None
        """The last attack, and the silences since then."""
        seen, moved = 0, time.monotonic()
        while True:
            time.sleep(LOOK_S)
            now = time.monotonic()
            may_attack = now < until and (max_attacks is None or self.found.attacks.total() < max_attacks)
            num_epochs = self._look(prepared)
            if num_epochs > seen:
                self.found.longest_silence_s = max(self.found.longest_silence_s, now - moved)
                if disturbed is not None:
                    name, silences = disturbed
                    silences.append(now - moved)
                    if len(silences) == NUM_EPOCHS_AFTER:
                        self.found.recovered_s.setdefault(name, []).append(max(silences))
                        disturbed = None
                seen, moved = num_epochs, now
                if attack_at is None and disturbed is None and may_attack:
                    attack_at = now + self._draw.uniform(*pause_s)
            if process.poll() is not None:
                if process.returncode == 0 or self.found.starts == MAX_STARTS:
                    break
                process = self.start()
                self.found.starts += 1
            elif attack_at is not None and now >= attack_at:
                if (done := self._attack(process)) is not None:
                    attack_at, disturbed = None, (done, [])
                else:
                    attack_at = now + LOOK_S
        self._look(prepared)
        return self.found

    def _attack(self, process: subprocess.Popen[bytes]) -> str | None:
        target = Target(process, self.start, self._mlflow, self._bucket, self._disk)
        name = min(self._kinds, key=lambda kind: self.found.attacks[kind] + self._draw.random() * 2)
        if not ATTACKS[name](target, self._draw):
            return None
        self.found.attacks[name] += 1
        return name

    def _look(self, prepared: Prepared) -> int:
        """Number of epochs on record. Counts what is on record no more."""
        store = prepared.store
        try:
            for step_id in prepared.steps:
                lines, before = store.metrics(step_id), self._lines.get(step_id, [])
                # The last line may stand there without its checkpoint; such an epoch is trained again.
                kept = before[:-1]
                self.found.twice += sum(old != new for old, new in zip(kept, lines, strict=False))
                self.found.twice += max(0, len(kept) - len(lines))
                self._lines[step_id] = lines
                done, known = store.done(step_id), self._done.get(step_id)
                self.found.lost += known is not None and done != known
                if done is not None:
                    self._done[step_id] = done
        except OSError:
            pass  # the bucket is silent
        return sum(len(lines) for lines in self._lines.values())

    def compare(self, hashes: Mapping[str, str]) -> Findings:
        """Compare the end with an undisturbed run's, and look at MLflow."""
        prepared = self.prepared()
        for step_id, expected in hashes.items():
            done = prepared.store.done(step_id)
            self.found.unfinished += done is None
            self.found.different += done is not None and done["state_hash"] != expected
        self.found.left_running = _num_running(
            self._mlflow.url if self._mlflow else f"sqlite:///{prepared.store.mlflow_db}"
        )
        return self.found


def hashes_of(prepared: Prepared) -> dict[str, str]:
    """Step id -> hash of the weights, for the finished steps of a sweep."""
    records = {step_id: prepared.store.done(step_id) for step_id in prepared.steps}
    return {step_id: record["state_hash"] for step_id, record in records.items() if record is not None}


def _num_running(tracking_uri: str) -> int:
    from mlflow import MlflowClient  # noqa: TID251  # what the product says of MLflow is not believed here

    client = MlflowClient(tracking_uri=tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return len(client.search_runs(experiments, "attributes.status = 'RUNNING'"))
