"""`reskd figures` as a person meets it, on a store of really trained steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.tracking.publish import Publisher
from reskd.figures.sheets import Field, Seen, draw_cams, draw_fields
from tests.support.command_line import call
from tests.support.trained_sweep import copy_of


@pytest.fixture(scope="module")
def trained(trained_sweep: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return copy_of(trained_sweep, tmp_path_factory.mktemp("figures"))


def rows(trained: Prepared) -> dict[str, str]:
    return {step.cells[0][0]: step.id for step in trained.steps.values() if step.cells}


def test_sheets_of_two_steps_are_written_and_in_the_mlflow_runs_of_both(
    trained: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = rows(trained)
    pair = ids["baseline"][:8], ids["pixel"][:8]
    store = trained.store.home
    code, text = call(monkeypatch, capsys, "figures", "erf", *pair, "--clips", "3", "--store", store, "--out", tmp_path)
    assert (code, "not in MLflow" in text) == (0, True)
    publisher = Publisher(trained.store, sweep=trained.sweep, steps=trained.steps, tracking_uri=None)
    assert publisher.publish()
    code, text = call(monkeypatch, capsys, "figures", "gradcam", *pair, "--clips", "2", "--store", store)
    assert (code, "artifacts figures/ of 2 runs" in text) == (0, True)
    names = {f"gradcam_{pair[0]}_{pair[1]}_{number}.png" for number in (1, 2)}
    assert names == {path.name for path in (store / "tables" / "figures").iterdir()}
    client = MlflowClient(tracking_uri=publisher.tracking_uri)
    for step_id in (ids["baseline"], ids["pixel"]):
        (run,) = client.search_runs([publisher.experiment_id], f"tags.`reskd.step_id` = '{step_id}'")
        found = client.list_artifacts(run.info.run_id, "figures")
        assert {Path(one.path).name for one in found} == names


def test_figures_of_a_sweep_go_into_its_report_run(
    trained: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("curves", "gain"):
        code, text = call(monkeypatch, capsys, "figures", kind, trained.sweep.path, "--store", trained.store.home)
        assert (code, "in MLflow: artifacts of the report" in text) == (0, True)
    publisher = Publisher(trained.store, sweep=trained.sweep, steps=trained.steps, tracking_uri=None)
    client = MlflowClient(tracking_uri=publisher.tracking_uri)
    (run,) = client.search_runs([publisher.experiment_id], "tags.`reskd.kind` = 'report'")
    found = {one.path for one in client.list_artifacts(run.info.run_id, "figures")}
    assert found == {"figures/learning_curves.png", "figures/views_class_gain.png"}


def test_a_file_to_write_to_is_a_file_and_several_figures_need_a_folder(
    trained: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step_id, store = rows(trained)["pixel"], trained.store.home
    out = tmp_path / "new" / "field.png"
    common = ("--store", store, "--out")
    code, text = call(monkeypatch, capsys, "figures", "erf", step_id, "--clips", "1", *common, out)
    assert (code, str(out) in text) == (0, True)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in out.parent.iterdir()] == ["field.png"]
    code, text = call(monkeypatch, capsys, "figures", "gradcam", step_id, "--clips", "2", *common, tmp_path / "a.png")
    assert (code, "these are 2 figures; name a folder for them" in text) == (2, True)
    code, text = call(monkeypatch, capsys, "figures", "curves", trained.sweep.path, *common, tmp_path / "curves.pdf")
    assert (code, "figures are PNG files; name a file that ends in .png, or a folder" in text) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_video_is_named_by_its_path_and_a_class_by_its_name(
    trained: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step_id, store = rows(trained)["pixel"], trained.store.home
    root = Path(str(next(iter(trained.steps.values())).recipe.data.root))
    video = sorted((root / "val").iterdir())[0]
    common = ("figures", "gradcam", step_id, "--store", store, "--out", tmp_path, "--videos", video)
    first = trained.manifests[next(iter(trained.manifests))].classes[0]
    code, _ = call(monkeypatch, capsys, *common, "--class", first, "--layer", "backbone.layer2")
    assert code == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"gradcam_{step_id[:8]}_1.png"]
    for more, said in (
        (("--class", "no such"), "--class 'no such' is not a class of these steps"),
        (("--layer", "backbone.layer9"), "layer 'backbone.layer9' is not in the model; there are backbone.layer"),
        (("--videos", tmp_path / "none.mp4"), "none.mp4: no such file or folder"),
    ):
        code, text = call(monkeypatch, capsys, *common, *more)
        assert code == 2
        assert said in " ".join(text.split())
    code, text = call(
        monkeypatch, capsys, "figures", "erf", step_id, "--store", store, "--data-root", tmp_path / "gone"
    )
    assert (code, "name it with --data-root" in text) == (2, True)


def test_a_cam_sheet_shows_at_most_eight_frames_each_under_its_own_map():
    frames = torch.zeros(16, 3, 8, 8, dtype=torch.uint8)
    maps = torch.arange(8.0)[:, None, None].expand(8, 2, 2)  # half as many maps as frames: a 3-D network
    figure = draw_cams(frames, [Seen(words="net", maps=maps)], title="t", note="n")
    titles = [axes.get_title() for axes in figure.axes[:8]]
    assert titles == [f"frame {number}" for number in (2, 4, 6, 8, 10, 12, 14, 16)]
    overlays = [axes.images[1].get_array() for axes in figure.axes[8:]]
    np.testing.assert_allclose([float(np.mean(shown)) for shown in overlays], np.arange(8) / 7, atol=1e-6)


def test_a_field_sheet_marks_the_cell_at_its_share_of_the_picture():
    field = Field(words="net", field=torch.ones(12, 12), cell=(2, 1), size=(4, 4))
    figure = draw_fields(torch.zeros(3, 64, 64, dtype=torch.uint8), [field], title="t", note="n")
    corners = [axes.patches[0].get_bbox().bounds for axes in figure.axes[:2]]
    assert corners == [(15.5, 31.5, 16.0, 16.0), (2.5, 5.5, 3.0, 3.0)]
