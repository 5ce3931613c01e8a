"""One road through everything, in the least time: two workers on a real Ray, a kill, a resume, MLflow, tables."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from orchestrator.store.step_record import records_from_store
from orchestrator.store.store import Store
from tests.support.open_sockets import waiting_sockets
from tests.support.trained_sweep import train_undisturbed
from tests.support.typed_runs import Place, wait_until

NUM_EPOCHS = 24
SWEEP = f"""
question: Does a run that is killed end where it would have ended?
base:
  data: {{name: demo, root: ROOT, num_frames: 2, short_side: 32, crop_size: 32, flip: false}}
  model: {{name: tsn_mini10, resolution: 24}}
  optim: {{lr: .05, epochs: {NUM_EPOCHS}, batch_size: 16, group_size: 8}}
  eval: {{every: 100}}
rows: {{chain: [{{row: plain}}]}}
seeds: [0]
resources: {{workers: 2, max_cpus: 2}}
tables: {{one: {{rows: row, columns: [test/top1, GMACs]}}}}
"""


def refuses_everybody_else(pid: int) -> None:
    """No other machine reaches a socket of the run, and a process of this one is asked for the token."""
    sockets = waiting_sockets(pid)
    assert {name.split()[0] for name in sockets} >= {"gcs_server", "raylet"}, sockets
    assert [name for name, on_loopback in sockets.items() if not on_loopback] == []
    (server,) = [name.split()[1] for name in sockets if name.startswith("gcs_server")]
    port = server.rpartition(":")[2]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")(b"", timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.ray
@pytest.mark.end_to_end
def test_a_run_that_is_killed_goes_on_from_its_last_epoch_to_the_tables_that_mlflow_gives_again(
    tmp_path: Path, demo_root: Path
) -> None:
    here = Place(tmp_path / "small.yaml", Store(tmp_path / "store"))
    here.sweep.write_text(SWEEP.replace("ROOT", str(demo_root)))
    store, step_id = here.store, here.step_of("plain")

    first = here.start_anew()
    wait_until(lambda: max(store.epochs(step_id), default=0) >= 2, first)
    refuses_everybody_else(first.pid)
    first.kill()
    first.communicate()
    assert not store.is_finished(step_id), "the run ended before it could be killed"
    kept = store.metrics(step_id)[:-1]  # the last one may have been written without its state

    second = here.call("run")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "1 of 1 steps done" in second.stdout
    lines = store.metrics(step_id)
    assert lines[: len(kept)] == kept, "epochs before the kill were trained again"
    assert [line["epoch"] for line in lines] == list(range(1, NUM_EPOCHS + 1))

    undisturbed = train_undisturbed(here.sweep, tmp_path / "undisturbed", num_workers=2).done(step_id)
    assert undisturbed is not None
    assert here.hashes() == {step_id: undisturbed["state_hash"]}

    (record,) = records_from_store(store, here.prepared().steps).values()
    folder = store.tables("small")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert f"{100 * record.metrics['test/top1']:.1f}" in (folder / "one.md").read_text()
    for path in folder.iterdir():
        path.unlink()
    again = here.call("tables")  # from MLflow
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
