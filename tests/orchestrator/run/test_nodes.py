"""A cluster of three machines, one of which goes in the middle of a job, with the store in a bucket; the machines are
processes of this one, each with a home and a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.store.open import store_at
from tests.support.trained_sweep import train_undisturbed
from tests.support.typed_runs import Typed, wait_until

pytestmark = pytest.mark.ray

SWEEP = """
question: Does a lost machine change a result?
base:
  data: {name: demo, root: ROOT, num_frames: 4, short_side: 64, crop_size: 64, flip: false}
  model: {name: tsn_mini10, resolution: 24}
  optim: {lr: .02, epochs: EPOCHS, batch_size: 16, group_size: 8}
  eval: {every: 100}
  teacher: {}
rows:
  chain:
    - {row: baseline, kd.level: none}
    - {row: pixel, kd.level: pixel, optim.epochs: 2}
seeds: [0]
resources: {workers: 2, max_cpus: 2}
tables:
  levels: {rows: row, columns: [test/top1, GMACs], delta_to: baseline}
"""
NUM_EPOCHS = 40


@pytest.fixture
def cluster(s3_url: str) -> Iterator[Cluster]:
    """A head without CPUs and two machines of one CPU each, so that a job of two workers needs both.

    Started after the S3 server, whose settings every process of theirs inherits.
    """
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 5}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield found
    finally:
        found.shutdown()


def _machine(folder: Path) -> dict[str, str]:
    """The variables of a machine that shares no folder with another."""
    folder.mkdir()
    return {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "RESKD_CACHE": str(folder / "cache" / "reskd"),
    }


def _tables(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.rglob("tables/nodes/*") if path.suffix in (".md", ".csv")}


def test_a_machine_that_goes_in_mid_job_changes_no_bit_of_the_result(
    cluster: Cluster, s3_url: str, tmp_path: Path, demo_root: Path
) -> None:
    sweep = tmp_path / "nodes.yaml"
    sweep.write_text(SWEEP.replace("ROOT", str(demo_root)).replace("EPOCHS", str(NUM_EPOCHS)))
    machines = [cluster.add_node(num_cpus=1, env_vars=_machine(tmp_path / name)) for name in ("first", "second")]
    store = store_at(s3_url)
    steps = prepare(sweep, store=store).steps
    step_id = next(step.id for step in steps.values() if ("baseline", 0) in step.cells)
    on_cluster = {
        **os.environ,
        **_machine(tmp_path / "head"),
        "RAY_ADDRESS": cluster.address,
        "RAY_AUTH_MODE": "disabled",
    }
    run = Typed(["run", str(sweep), "--store", s3_url], environment=on_cluster)
    wait_until(lambda: max(store.epochs(step_id), default=0) >= 3, run, every_s=0.1)  # a look is a request
    cluster.remove_node(machines[1], allow_graceful=False)
    left_at = max(store.epochs(step_id))
    assert left_at < NUM_EPOCHS, "the job ended before the machine went"
    cluster.add_node(num_cpus=1, env_vars=_machine(tmp_path / "third"))
    assert run.wait().returncode == 0, run.said()

    alone = train_undisturbed(sweep, tmp_path / "alone", num_workers=2)
    for each in steps:
        after, undisturbed = store.done(each), alone.done(each)
        assert after is not None
        assert undisturbed is not None
        assert after["state_hash"] == undisturbed["state_hash"]
    assert [line["epoch"] for line in store.metrics(step_id)] == list(range(1, NUM_EPOCHS + 1))
    assert len(_tables(tmp_path / "alone")) >= 2
    assert _tables(tmp_path / "head") == _tables(tmp_path / "alone")
    fetched = [list((tmp_path / name).rglob(f"{step_id}/weights.pt")) for name in ("first", "third")]
    assert all(fetched), "each machine fetched the teacher's weights from the bucket into a cache of its own"
