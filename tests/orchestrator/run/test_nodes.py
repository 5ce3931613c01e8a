"""A cluster of several machines, one of which goes in the middle of a job, with the store in a bucket; the machines are
processes of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.store.open import store_at
from orchestrator.store.store import Store

pytestmark = pytest.mark.ray

SWEEP = """
question: Does a lost machine change a result?
base:
  data: {name: demo, root: ROOT, num_frames: 4, short_side: 64, crop_size: 64, flip: false}
  model: {name: tsn_mini10, resolution: 24}
  optim: {lr: .02, epochs: 20, batch_size: 16, group_size: 8}
  eval: {every: 100}
rows:
  chain:
    - {row: baseline}
seeds: [0]
resources: {workers: 2, max_cpus: 2}
"""
WAIT_S = 240


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


def _command(sweep: Path, store: str | Path) -> list[str]:
    return [str(Path(sys.executable).with_name("reskd")), "run", str(sweep), "--store", str(store)]


def test_a_machine_that_goes_in_mid_job_changes_no_bit_of_the_result(
    cluster: Cluster, s3_url: str, tmp_path: Path, demo_root: Path
) -> None:
    sweep = tmp_path / "nodes.yaml"
    sweep.write_text(SWEEP.replace("ROOT", str(demo_root)))
    machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
    store = store_at(s3_url)
    (step_id,) = prepare(sweep, store=store).steps
    on_cluster = {**os.environ, "RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}
    with open(tmp_path / "log.txt", "w") as log:
        run = subprocess.Popen(_command(sweep, s3_url), env=on_cluster, stdout=log, stderr=log)
        until = time.monotonic() + WAIT_S
        while max(store.epochs(step_id), default=0) < 3:
            assert run.poll() is None, (tmp_path / "log.txt").read_text()
            assert time.monotonic() < until, "waited too long"
            time.sleep(0.1)  # a look is a request
        cluster.remove_node(machines[1], allow_graceful=False)
        left_at = max(store.epochs(step_id))
        assert left_at < 20, "the job ended before the machine went"
        cluster.add_node(num_cpus=1)
        assert run.wait(timeout=WAIT_S) == 0, (tmp_path / "log.txt").read_text()

    alone = Store(tmp_path / "alone")
    here = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    subprocess.run(_command(sweep, alone.home), env=here, check=True, capture_output=True, timeout=WAIT_S)
    after, undisturbed = store.done(step_id), alone.done(step_id)
    assert after is not None
    assert undisturbed is not None
    assert after["state_hash"] == undisturbed["state_hash"]
    assert [line["epoch"] for line in store.metrics(step_id)] == list(range(1, 21))
