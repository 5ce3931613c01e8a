"""The command line as a person meets it: what it prints, and what it says of bad input."""

from __future__ import annotations

import io
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.experiment.bound_sweep import prepare
from orchestrator.store.store import Store
from tests.support.command_line import call
from tests.support.ports import free_port
from tests.support.stored_sweep import DONE
from tests.support.sweeps import TWO_ROWS


@pytest.fixture
def sweep(tmp_path: Path, demo_root: Path) -> Path:
    """A sweep file beside a copy of the videos that a test may take away."""
    shutil.copytree(demo_root, tmp_path / "videos")
    path = tmp_path / "small.yaml"
    path.write_text(TWO_ROWS.replace("ROOT", str(tmp_path / "videos")))
    return path


def test_a_plan_names_every_cell_its_jobs_and_starts_nothing(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = call(monkeypatch, capsys, "plan", sweep, "--store", tmp_path / "store")
    assert code == 0
    assert "2 cells, 3 steps: 2 train, 1 waiting; 2 jobs to run" in text
    assert "taught by tsn_mini18@64" in text
    assert not (tmp_path / "store" / "runs").exists()


def test_ids_stay_the_same_where_only_the_manifest_is_known_and_are_provisional_without_it(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, seen = call(monkeypatch, capsys, "plan", sweep, "--store", tmp_path / "store")
    shutil.rmtree(tmp_path / "videos")
    code, unseen = call(monkeypatch, capsys, "plan", sweep, "--store", tmp_path / "store")
    assert (code, unseen) == (0, seen)
    code, unknown = call(monkeypatch, capsys, "plan", sweep, "--store", tmp_path / "empty")
    assert code == 0
    assert "no videos and no manifest of demo here; step ids are provisional" in unknown
    code, refused = call(monkeypatch, capsys, "run", sweep, "--store", tmp_path / "empty")
    assert code == 2
    assert "no videos and no manifest of demo here" in refused
    code, refused = call(monkeypatch, capsys, "run", sweep, "--store", tmp_path / "store")
    assert code == 2
    assert "set data.root or RESKD_DATA" in refused


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ("kd.level: pixel", "kd.levle: pixel", "did you mean 'kd.level'?"),
        ("batch_size: 16", "batch_size: 64", "36"),
        ("columns: [test/top1]", "columns: [test/top2]", "test/top2"),
        ("tsn_mini10", "tsn_mini_10", "did you mean 'tsn_mini10'?"),
    ],
)
def test_a_wrong_sweep_is_one_message_exit_code_2_and_no_traceback(
    sweep: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: str,
    to: str,
    said: str,
) -> None:
    sweep.write_text(sweep.read_text().replace(changed, to))
    code, text = call(monkeypatch, capsys, "run", sweep, "--store", tmp_path / "store")
    assert code == 2
    assert said in text
    assert "Traceback" not in text


def test_a_missing_video_is_named_before_anything_starts(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = next((tmp_path / "videos" / "train").glob("*.mp4"))
    gone.unlink()
    code, text = call(monkeypatch, capsys, "run", sweep, "--store", tmp_path / "store")
    assert code == 2
    assert gone.name in text
    code, text = call(monkeypatch, capsys, "data", "check", sweep, "--workers", 1, "--store", tmp_path / "store")
    assert code == 1
    assert "1 missing" in text


def test_a_dead_tracking_server_is_an_error_at_the_start(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = "http://127.0.0.1:9"
    code, text = call(monkeypatch, capsys, "run", sweep, "--store", tmp_path / "store", "--tracking-uri", uri)
    assert code == 2
    assert uri in text


def test_rm_names_steps_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = call(monkeypatch, capsys, "rm", "abc", "--store", tmp_path / "store")
    assert code == 2
    assert "'abc' names 0 steps" in text


def test_rm_asks_first_and_unused_spares_what_the_sweep_needs(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    needed = next(iter(prepare(sweep, store=store).steps.values()))
    store.record_identity(needed.id, full_id=needed.full_id, payload=needed.payload, recipe={})
    store.record_identity("f" * 16, full_id="f" * 64, payload={}, recipe={})
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    call(monkeypatch, capsys, "rm", "--unused", sweep, "--store", store.home)
    assert len(store.step_ids()) == 2
    call(monkeypatch, capsys, "rm", "--unused", sweep, "--store", store.home, "--yes")
    assert store.step_ids() == (needed.id,)


def test_status_names_damaged_clips_and_no_cohorts_makes_a_job_of_each_step(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    step = next(iter(prepare(sweep, store=store).steps.values()))
    store.start(step.id, {"workers": 1, "threads": 1, "started_ms": 1, "host": "here"}, afresh=True)
    damaged = [{"split": "val", "path": "val/bad.mp4", "reason": "x"}]
    store.finish(step.id, {}, DONE | {"damaged": damaged})
    _, text = call(monkeypatch, capsys, "status", sweep, "--store", store.home)
    assert "1 damaged clips: val/bad.mp4" in text
    _, text = call(monkeypatch, capsys, "plan", sweep, "--store", tmp_path / "other", "--no-cohorts")
    assert "3 jobs to run" in text


def test_a_cluster_that_does_not_answer_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    code, text = call(monkeypatch, capsys, "run", tmp_path / "missing.yaml", "--store", tmp_path / "store")
    assert code == 2
    assert "RAY_ADDRESS 127.0.0.1:" in text
    assert "nobody answers" in text


def test_the_version_is_that_of_the_project_and_help_has_a_short_form() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"reskd {project['version']}\n")
    for words in ([], ["plan"], ["data"], ["data", "pack"]):
        short, long = (CliRunner().invoke(app, [*words, option]).output for option in ("-h", "--help"))
        assert short == long
        assert "Usage:" in short
