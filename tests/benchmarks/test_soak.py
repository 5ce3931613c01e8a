"""The short form of `make soak`: a run that loses its parts ends as if nothing had been."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.soak.attacks import ATTACKS
from benchmarks.soak.results import faults_of, record_of, table_of
from benchmarks.soak.round import Findings, Round, hashes_of
from benchmarks.soak.sweep import write_sweep
from orchestrator.experiment.bound_sweep import prepare
from tests.support.trained_sweep import train_undisturbed

KINDS = ("a worker killed", "a trial with Train's controller killed", "Ray's raylet killed", "`reskd run` killed")


@pytest.mark.ray
def test_a_run_that_is_attacked_again_and_again_ends_where_it_would_have_ended(tmp_path: Path, demo_root: Path) -> None:
    sweep = write_sweep(tmp_path / "soak.yaml", root=demo_root, epochs=60)
    calm = train_undisturbed(sweep, tmp_path / "calm", num_workers=2)
    one = Round(sweep, str(tmp_path / "store"), draw=random.Random(1), log=tmp_path / "run.log", kinds=KINDS)
    one.run(max_attacks=3, pause_s=(0.1, 1.0))
    found = one.compare(hashes_of(prepare(sweep, store=calm)))
    assert found.attacks.total() == 3, (tmp_path / "run.log").read_text()
    assert set(faults_of(record_of(1, 1.0, [("folder", found)])).values()) == {0}, found


def test_results_add_up() -> None:
    name = next(iter(ATTACKS))
    first, second = Findings(lost=1, longest_silence_s=7), Findings(left_running=2, longest_silence_s=5)
    first.attacks[name], second.attacks[name] = 2, 3
    first.recovered_s[name], second.recovered_s[name] = [1.0, 2.0], [9.0, 10.0, 11.0]
    records = [record_of(seed, 30.0, [("folder", found)]) for seed, found in ((4, first), (5, second))]
    table = table_of(records)
    assert f"| {name} | 5 | 9 | 11 |" in table
    assert "| finished steps lost | 1 |" in table
    assert "| MLflow runs left RUNNING | 2 |" in table
    assert "seeds 4, 5" in table
    assert "7 s" in table
