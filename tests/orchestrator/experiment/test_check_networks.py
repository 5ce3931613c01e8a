"""Networks that do not suit each other or their frames are refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.experiment.bound_sweep import check_before_start, prepare
from orchestrator.experiment.check_networks import check_models
from orchestrator.spec.steps import build_steps
from orchestrator.spec.sweep import load
from orchestrator.store.store import Store
from reskd.errors import BadInput
from reskd.models.catalogue import MODELS, Network
from reskd.models.video_model import VideoModel, VideoModel3d

SWEEP = """
question: Does it fit?
base:
  data: {name: toy, crop_size: 64, short_side: 64}
  model: {name: tsn_mini10, resolution: 24}
  optim: {batch_size: 8}
  teacher: {model.name: tsn_mini18, model.resolution: 64}
rows:
  chain:
    - {row: baseline}
    - ROW
seeds: [0, 1]
"""


def checked(folder: Path, row: str) -> None:
    """check_models on a sweep with that row."""
    path = folder / "fit.yaml"
    path.write_text(SWEEP.replace("ROW", row))
    check_models(build_steps(load(path), manifest_of=lambda data: "m"), lambda step: ("a", "b"))


@pytest.fixture
def unpadded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that need frames of 9 pixels: a 9x9 filter without padding, and a crop of 8 pixels."""

    class Crop(nn.Module):
        def forward(self, frames: Tensor) -> Tensor:
            return frames[:, :, 8:, 8:]

    def filtered(**options: Any) -> VideoModel:
        return VideoModel(nn.Conv2d(3, 128, 9), num_features=128, **options)

    def cropped(**options: Any) -> VideoModel:
        return VideoModel(Crop(), num_features=3, **options)

    monkeypatch.setitem(MODELS, "filtered", Network(filtered))
    monkeypatch.setitem(MODELS, "cropped", Network(cropped))


@pytest.mark.parametrize(
    "row",
    [
        "{row: a, kd.level: pixel}",
        "{row: a, kd.level: pixel, model.resolution: 1}",
        # A ResNet-18's map has 512 channels and a ResNet-50's 2048; only pixels are compared channel by channel.
        "{row: a, kd.level: frame, teacher.model.name: tsn_resnet18}",
        "{row: a, kd.level: clip, model.name: tsn_resnet18, teacher.model.name: tsn_resnet50}",
        "{row: a, kd.level: pixel, model.name: tsn_resnet18, teacher.model.name: tsn_resnet34}",
        pytest.param(
            "{row: a, kd.level: pixel, model.name: tsn_resnet50, teacher.model.name: tsn_resnet152}",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_networks_that_suit_each_other_pass(tmp_path: Path, row: str) -> None:
    checked(tmp_path, row)


def test_a_pixel_level_student_of_other_width_than_its_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        checked(tmp_path, "{row: gap, kd.level: pixel, model.name: tsn_resnet18, teacher.model.name: tsn_resnet50}")
    assert str(caught.value) == (
        "row 'gap': kd.level is 'pixel', but the last map of 'tsn_resnet18' has 512 channels and that of its teacher "
        "'tsn_resnet50' has 2048; choose networks with equally many, or kd.level pixel_kl, frame or clip"
    )


def test_networks_of_other_width_may_meet_in_pixel_kl(tmp_path: Path) -> None:
    checked(tmp_path, "{row: gap, kd.level: pixel_kl, model.name: tsn_resnet18, teacher.model.name: tsn_resnet50}")


def weights_file(folder: Path, name: str, *, resolution: int = 64, classes: tuple[str, ...] = ("a", "b")) -> str:
    path = folder / "teacher.pt"
    spec = {"name": name, "resolution": resolution, "weights": "none", "dropout": 0.5, "antialias": False}
    torch.save({"model": {}, "model_spec": spec, "classes": list(classes)}, path)
    return str(path)


def test_a_teacher_from_a_file_is_compared_too(tmp_path: Path) -> None:
    row = "{row: gap, kd.level: pixel, teacher: {checkpoint: FILE}}"
    checked(tmp_path, row.replace("FILE", weights_file(tmp_path, "tsn_mini18")))
    wide = weights_file(tmp_path, "tsn_resnet18")
    with pytest.raises(BadInput, match=r"^row 'gap': .*'tsn_mini10' has 128 channels .* 'tsn_resnet18' has 512; "):
        checked(tmp_path, row.replace("FILE", wide))
    unknown = weights_file(tmp_path, "tsn_mini11")
    with pytest.raises(BadInput, match=r"^row 'gap': .*teacher\.pt: .* 'tsn_mini11'; did you mean 'tsn_mini1"):
        checked(tmp_path, row.replace("FILE", unknown))


def test_a_teacher_from_a_file_that_knows_other_classes_or_wants_larger_frames_is_refused(tmp_path: Path) -> None:
    row = "{row: gap, kd.level: clip, teacher: {checkpoint: FILE}}"
    other = weights_file(tmp_path, "tsn_mini18", classes=("b", "a"))
    with pytest.raises(BadInput, match=r"teacher\.pt: this teacher has 2 classes, .* their names differ"):
        checked(tmp_path, row.replace("FILE", other))
    large = weights_file(tmp_path, "tsn_mini18", resolution=128)
    with pytest.raises(BadInput, match=r"teacher\.pt: this teacher takes 128 pixels, more than data.crop_size = 64"):
        checked(tmp_path, row.replace("FILE", large))


@pytest.mark.usefixtures("unpadded")
@pytest.mark.parametrize("name", ["filtered", "cropped"])
def test_a_resolution_that_leaves_no_map_is_refused(tmp_path: Path, name: str) -> None:
    checked(tmp_path, f"{{row: small, model.name: {name}, model.resolution: 9}}")
    with pytest.raises(BadInput, match=f"^row 'small': model.resolution is 8, too small for '{name}' with clips of"):
        checked(tmp_path, f"{{row: small, model.name: {name}, model.resolution: 8}}")


@pytest.mark.usefixtures("unpadded")
def test_a_teacher_in_no_row_is_named_by_its_students_row(tmp_path: Path) -> None:
    row = "{row: small, kd.level: clip, teacher.model.name: filtered, teacher.model.resolution: 8}"
    with pytest.raises(BadInput, match=r"^row 'small': teacher: model.resolution is 8, too small for 'filtered'"):
        checked(tmp_path, row)


def test_weights_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    checked(tmp_path, "{row: a, model.name: tsn_resnet50, model.weights: imagenet_v1}")
    assert not (tmp_path / "home").exists()


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 3-D network of a ResNet-18's width that leaves one map for two frames, rounded up."""

    def build(**options: Any) -> VideoModel3d:
        backbone = nn.Conv3d(3, 512, kernel_size=(3, 4, 4), stride=(2, 4, 4), padding=(1, 0, 0))
        return VideoModel3d(backbone, num_features=512, time_stride=2, **options)

    monkeypatch.setitem(MODELS, "paired", Network(build))


@pytest.mark.usefixtures("paired")
def test_networks_that_leave_maps_of_other_times_meet_at_clip_level_only(tmp_path: Path) -> None:
    row = "{row: gap, kd.level: LEVEL, data.num_frames: 7, model.name: tsn_resnet18, teacher.model.name: paired}"
    checked(tmp_path, row.replace("LEVEL", "clip"))
    checked(tmp_path, row.replace("LEVEL", "pixel").replace("tsn_resnet18", "paired"))
    for level in ("frame", "pixel", "pixel_kl"):
        with pytest.raises(BadInput) as caught:
            checked(tmp_path, row.replace("LEVEL", level))
        assert str(caught.value) == (
            f"row 'gap': kd.level is {level!r}, but from data.num_frames = 7 frames 'tsn_resnet18' computes 7 maps in "
            "time and its teacher 'paired' computes 4; choose networks with equally many, or kd.level clip"
        )


def test_a_teacher_with_fewer_exits_than_the_students_clips_have_frames_is_refused_at_every_level(
    tmp_path: Path,
) -> None:
    teacher = "teacher.model.name: frameexit_mini10, teacher.data.num_frames: N"
    row = f"{{row: long, kd.level: clip, data.num_frames: 8, {teacher}}}"
    checked(tmp_path, row.replace("N", "8"))
    with pytest.raises(BadInput, match=r"row 'long': its teacher: clips of 8 frames, but .* trained with 4 exits"):
        checked(tmp_path, row.replace("N", "4"))


def test_the_final_tests_own_crop_is_tried_too(tmp_path: Path, unpadded: None) -> None:
    """A network for 12 pixels of a crop of 64 gets 6 of a crop of 32, too few for its filter of 9."""
    row = "{row: a, kd.level: none, model: {name: filtered, resolution: 12}, eval: {short_side: 32, crop_size: 32}}"
    with pytest.raises(BadInput, match=r"row 'a': its final test \(eval\.crop_size\): model\.resolution is 6, too"):
        checked(tmp_path, row)


@pytest.mark.parametrize(
    "row",
    [
        "{row: wide, kd.level: pixel, model.name: tsn_resnet18, model.resolution: 64}",  # widths
        "{row: file, kd.level: clip, teacher: {checkpoint: CHECKPOINT}}",  # classes and size of a teacher's file
        "{row: short, kd.level: none, model.name: filtered, model.resolution: 8}",  # no map is left
        "{row: few, kd.level: none, optim: {batch_size: 64}}",  # fewer clips than a batch
    ],
)
def test_a_plan_and_a_run_refuse_the_same_with_the_same_words(
    tmp_path: Path, unpadded: None, row: str, demo_root: Path
) -> None:
    torch.save({"model": {}, "model_spec": {"name": "tsn_mini10"}, "classes": ["x"]}, tmp_path / "weights.pt")
    path = tmp_path / "fit.yaml"
    text = SWEEP.replace("ROW", row.replace("CHECKPOINT", str(tmp_path / "weights.pt")))
    path.write_text(text.replace("name: toy", f"name: toy, root: {demo_root}"))
    prepared = prepare(path, store=Store(tmp_path / "store"))
    with pytest.raises(BadInput) as of_run:
        check_before_start(prepared)
    planned = CliRunner().invoke(app, ["plan", str(path), "--store", str(tmp_path / "store")])
    assert isinstance(planned.exception, BadInput)
    assert str(planned.exception) == str(of_run.value)
