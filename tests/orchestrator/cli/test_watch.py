"""`reskd watch` and `reskd logs` as they are typed, on the records of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.run.cluster.submit import _store_in
from orchestrator.store.lease import leases
from orchestrator.store.run_records import RunRecords
from orchestrator.store.store import Store
from tests.support.command_line import call
from tests.support.watched_runs import job, run, training


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.home.mkdir()
    return store


def test_a_run_is_shown_while_it_lives_and_not_after_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records, sweep, other = RunRecords(store), tmp_path / "levels.yaml", tmp_path / "other.yaml"
    for path in (sweep, other):
        path.touch()
    one = job("job-a", "baseline", "pixel", state="running", label="seed 0: baseline and 1 more")
    with leases() as held:
        assert held.take(store.lease_path("5tep"))
        records.write_run(run(one, job("job-b"), owner=held.owner))
        records.write_job(held.owner.id, "job-a", training(one))
        for words in ([], [sweep]):
            code, said = call(monkeypatch, capsys, "watch", *words, "--store", store.home)
            assert code == 0
            assert "seed 0: baseline and 1 more" in said
            assert "1 running, 1 waiting" in said
        code, said = call(monkeypatch, capsys, "watch", other, "--store", store.home)
        assert (code, "no run of" in said) == (0, True)
    code, said = call(monkeypatch, capsys, "watch", "--store", store.home)
    assert (code, "no run lives in" in said) == (0, True)


def test_a_store_or_a_sweep_that_is_not_there_is_named_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("watch", "logs"):
        code, said = call(monkeypatch, capsys, command, "--store", tmp_path / "nowhere")
        assert (code, "nowhere: no such folder" in said) == (2, True)
    assert not (tmp_path / "nowhere").exists()
    code, said = call(monkeypatch, capsys, "watch", tmp_path / "no.yaml", "--store", tmp_path)
    assert (code, "no.yaml: no such sweep file" in said) == (2, True)


def test_logs_shows_the_log_of_a_run_here_and_needs_an_address_for_a_clusters_job(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    code, said = call(monkeypatch, capsys, "logs", "--store", store.home)
    assert (code, "has left a log" in said) == (2, True)
    log = store.home / "logs" / "levels-20260101-120000.log"
    log.parent.mkdir()
    log.write_text("epoch 1 of Ray's own words\n")
    for words in ([], ["levels.yaml"]):
        code, said = call(monkeypatch, capsys, "logs", *words, "--store", store.home)
        assert (code, said.endswith("epoch 1 of Ray's own words\n")) == (0, True)
    code, said = call(monkeypatch, capsys, "logs", "other.yaml", "--store", store.home)
    assert code == 2
    code, said = call(monkeypatch, capsys, "logs", "raysubmit_1234")
    assert (code, "--address" in said) == (2, True)
    code, said = call(monkeypatch, capsys, "logs", "--address", "http://127.0.0.1:8265")
    assert (code, "needs the id of a job" in said) == (2, True)


@pytest.mark.parametrize(
    ("command", "store"),
    [
        ("python -m orchestrator run a.yaml --store '/shared/my store' --set seeds=[0]", "/shared/my store"),
        ("reskd run a.yaml --store=s3://bucket/prefix", "s3://bucket/prefix"),
        ("reskd run a.yaml", None),
        ("reskd run a.yaml --store", None),
        ("echo 'not ours", None),
    ],
)
def test_the_store_of_a_clusters_job_is_read_from_its_command(command: str, store: str | None) -> None:
    assert _store_in(command) == store
