"""`reskd report` of a sweep that was really trained: the file, its place in MLflow, and what `tables --check` says."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.report_page import page_path
from orchestrator.tracking.publish import Publisher
from tests.support.command_line import call
from tests.support.trained_sweep import copy_of


@pytest.fixture(scope="module")
def trained(trained_sweep: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return copy_of(trained_sweep, tmp_path_factory.mktemp("report"))


def test_the_page_is_the_same_from_the_store_and_from_mlflow_which_gets_it(
    trained: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = trained.sweep.path, "--store", trained.store.home
    publisher = Publisher(trained.store, sweep=trained.sweep, steps=trained.steps, tracking_uri=None)
    assert publisher.publish()
    pages = []
    for source in ("store", "mlflow"):
        code, text = call(monkeypatch, capsys, "report", *common, "--from", source)
        assert (code, text.splitlines()[-1]) == (0, str(page_path(trained)))
        pages.append(page_path(trained).read_text())
    assert pages[0] == pages[1]
    assert "Gain over " in pages[0]  # from the logits of a real test
    client = MlflowClient(tracking_uri=publisher.tracking_uri)
    (run,) = client.search_runs([publisher.experiment_id], "tags.`reskd.kind` = 'report'")
    assert "report.html" in {one.path for one in client.list_artifacts(run.info.run_id)}
    code, text = call(monkeypatch, capsys, "report", *common, "--from", "nowhere")
    assert (code, "'nowhere' is neither mlflow nor store" in text) == (2, True)


def test_tables_write_the_page_too_and_it_never_makes_them_stale(
    trained: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = "tables", trained.sweep.path, "--store", trained.store.home, "--from", "store"
    page_path(trained).unlink(missing_ok=True)
    code, text = call(monkeypatch, capsys, *common)
    assert (code, f"report: {page_path(trained)}" in text.replace("\n", " ")) == (0, True)
    page_path(trained).write_text("another version")
    _, text = call(monkeypatch, capsys, *common, "--check")
    assert "stale" not in text
