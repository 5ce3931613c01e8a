"""A file that was exported gives the model's logits, alone, and is not written when it would not."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Manifest
from reskd.data.sampling import segment_indices
from reskd.data.transforms import test_crop as crop_of
from reskd.deploy.card import Card, Trained, load_trained
from reskd.deploy.export import Format, export, open_exported
from reskd.errors import BadInput, ReskdError
from reskd.models.catalogue import build_model
from reskd.models.video_model import VideoModel
from reskd.recipe import DataSpec, ModelSpec
from tests.support.by_hand import bilinear
from tests.support.exported_step import FORMATS, STEP_ID, FinishedStep, finished_step, no_onnx
from tests.support.warm_python import WarmPython

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

ALONE = {
    "pt2": """
import json, sys, torch
extra = {"reskd.json": ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
card = json.loads(extra["reskd.json"])
run = lambda clips: module(clips)
""",
    "onnx": """
import json, sys, torch, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
card = json.loads(session.get_modelmeta().custom_metadata_map["reskd.json"])
run = lambda clips: torch.from_numpy(session.run(["logits"], {"clips": clips.numpy()})[0])
""",
}
ASK = """
size = (2, card["num_frames"], 3, card["crop_size"], card["crop_size"])
logits = run(torch.arange(torch.Size(size).numel()).remainder(251).to(torch.uint8).reshape(size))
assert "reskd" not in sys.modules
print(json.dumps({"card": card, "logits": logits.tolist()}))
"""


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory, demo_data: DataSpec, short_manifest: Manifest) -> FinishedStep:
    return finished_step(tmp_path_factory.mktemp("step"), demo_data, short_manifest)


def clip_of(path: Path, spec: DataSpec) -> Tensor:
    frames = read_frames(path, lambda total: segment_indices(total, num_frames=spec.num_frames, rng=None))
    return crop_of(torch.from_numpy(frames).permute(0, 3, 1, 2), spec=spec)


def weights_file(path: Path, *, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> VideoModel:
    """A network whose logits differ much from input to input, and its weights.pt for clips of 4 frames of 32 px."""
    torch.manual_seed(3)
    model = build_model(spec, num_classes=5).to(dtype)
    nn.init.normal_(model.classifier.weight, std=1.0)
    content = {"model": model.state_dict(), "model_spec": asdict(spec), "classes": list("abcde"), "step_id": "made"}
    torch.save({**content, "num_frames": 4, "short_side": 32, "crop_size": 32}, path)
    return model.eval()


@pytest.fixture(scope="module", params=FORMATS)
def exported(request: pytest.FixtureRequest, step: FinishedStep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished step as a file of each format."""
    path = tmp_path_factory.mktemp("exported") / f"model.{request.param}"
    export(load_trained(step.weights, recipe={"model_seed": 7}), path, format=request.param)
    return path


def test_an_exported_file_gives_the_logits_that_the_evaluation_recorded(
    exported: Path, step: FinishedStep, demo_data: DataSpec
) -> None:
    logits, card = open_exported(exported)
    assert (card.classes, card.step_id) == (step.classes, STEP_ID)
    clips = torch.stack([clip_of(video, demo_data) for video in step.videos])
    np.testing.assert_allclose(logits(clips), step.logits, atol=1e-5)
    np.testing.assert_allclose(logits(clips[:1]), step.logits[:1], atol=1e-5)


@pytest.mark.parametrize(
    ("format", "resolution", "antialias"),
    [
        ("pt2", 12, True),
        pytest.param("pt2", 32, False, marks=pytest.mark.slow),
        pytest.param("onnx", 12, True, marks=[no_onnx, pytest.mark.slow]),
        pytest.param("onnx", 32, False, marks=[no_onnx, pytest.mark.slow]),
    ],
)
def test_normalisation_and_resize_are_inside_the_file(
    tmp_path: Path, format: Format, resolution: int, antialias: bool
) -> None:
    spec = ModelSpec(name="tsn_mini10", resolution=resolution, antialias=antialias)
    model = weights_file(tmp_path / "weights.pt", spec=spec)
    export(load_trained(tmp_path / "weights.pt"), tmp_path / f"model.{format}", format=format)
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    pixels = (clips / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    seen = F.interpolate(pixels.flatten(0, 1), size=(resolution, resolution), mode="bilinear", antialias=antialias)
    with torch.no_grad():
        expected = model(seen.unflatten(0, (2, 4))).clip_logits.numpy()
    logits, _ = open_exported(tmp_path / f"model.{format}")
    np.testing.assert_allclose(logits(clips), expected, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("network", "stride"), [("tsn_mini10", None), ("tsn_resnet18", 16)])
def test_enlarging_and_stride_are_inside_the_file(tmp_path: Path, network: str, stride: Literal[16] | None) -> None:
    spec = ModelSpec(name=network, resolution=16, enlarge_to=40, stride=stride)
    model = weights_file(tmp_path / "weights.pt", spec=spec)
    export(load_trained(tmp_path / "weights.pt"), tmp_path / "model.pt2", format="pt2")
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    pixels = (clips / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    small = bilinear(pixels.double(), (16, 16), align_corners=False)
    with torch.no_grad():
        expected = model(bilinear(small, (40, 40), align_corners=False).float()).clip_logits.numpy()
    logits, _ = open_exported(tmp_path / "model.pt2")
    np.testing.assert_allclose(logits(clips), expected, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.parametrize(
    "exported", [pytest.param("pt2", marks=pytest.mark.slow), pytest.param("onnx", marks=no_onnx)], indirect=True
)
def test_the_file_is_enough_without_reskd_and_tells_what_it_needs(
    exported: Path, step: FinishedStep, warm_python: WarmPython, tmp_path: Path
) -> None:
    ended = warm_python.run(ALONE[exported.suffix.removeprefix(".")] + ASK, exported, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    card = answer["card"]
    assert {name: card[name] for name in ("resolution", "crop_size", "short_side", "num_frames", "recipe")} == {
        "resolution": 24, "crop_size": 64, "short_side": 64, "num_frames": 4, "recipe": {"model_seed": 7},
    }  # fmt: skip
    assert (tuple(card["classes"]), tuple(card["mean"]), tuple(card["std"])) == (step.classes, MEAN, STD)
    clips = torch.arange(2 * 4 * 3 * 64 * 64).remainder(251).to(torch.uint8).reshape(2, 4, 3, 64, 64)
    logits, _ = open_exported(exported)
    np.testing.assert_allclose(np.array(answer["logits"]), logits(clips), atol=1e-5)


def test_no_path_of_this_machine_is_in_the_file(exported: Path) -> None:
    content = exported.read_bytes()
    for place in (exported.parent, Path(__file__).parents[3], Path(sys.prefix)):
        assert str(place).encode() not in content


def test_a_model_in_double_precision_is_exported_in_single(tmp_path: Path) -> None:
    model = weights_file(tmp_path / "weights.pt", spec=ModelSpec(name="tsn_mini10", resolution=16), dtype=torch.float64)
    assert model.classifier.weight.dtype == torch.float64
    assert export(load_trained(tmp_path / "weights.pt"), tmp_path / "model.pt2", format="pt2") < 1e-3
    logits, _ = open_exported(tmp_path / "model.pt2")
    assert logits(torch.zeros((1, 4, 3, 32, 32), dtype=torch.uint8)).dtype == np.float32


class OtherWhenExported(nn.Module):
    """Stands for any part that an exporter gets wrong: what is traced is not what runs."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames * 2 if torch.compiler.is_exporting() else frames


@pytest.mark.parametrize("format", ["pt2", pytest.param("onnx", marks=[no_onnx, pytest.mark.slow])])
def test_a_file_that_would_answer_otherwise_is_not_written(tmp_path: Path, format: Format) -> None:
    model = VideoModel(OtherWhenExported(), num_features=3, num_classes=2, dropout=0.0).eval()
    nn.init.normal_(model.classifier.weight)
    card = Card(
        step_id="odd", model="odd", classes=("a", "b"), num_frames=2, short_side=8, crop_size=8, resolution=8
    )  # fmt: skip
    old = tmp_path / f"model.{format}"
    old.write_text("what was here before")
    with pytest.raises(ReskdError, match=r"not written: .* differ from the model's by \d"):
        export(Trained(model, ModelSpec(name="odd", resolution=8), card), old, format=format)
    assert old.read_text() == "what was here before"
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_export_did_not_write_is_bad_input(tmp_path: Path, format: Format) -> None:
    path = tmp_path / f"foreign.{format}"
    path.write_bytes(b"something else")
    with pytest.raises(BadInput, match=rf"foreign\.{format}: not "):
        open_exported(path)


def test_a_file_of_torch_export_without_a_card_is_bad_input(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "foreign.pt2")
    with pytest.raises(BadInput, match=r"foreign\.pt2: reskd\.json in it: not what"):
        open_exported(tmp_path / "foreign.pt2")
