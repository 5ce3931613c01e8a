"""3-D networks in the trainer, the cohort and the exported file, whose maps may stand for two frames each."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reskd.data.manifest import Manifest
from reskd.deploy.card import load_trained
from reskd.deploy.export import export, open_exported
from reskd.errors import BadInput
from reskd.files import read_json
from reskd.models.catalogue import build_model
from reskd.recipe import DataSpec, KDLevel, KDSpec, ModelSpec, OptimSpec, Recipe
from tests.support.training import Fit, fit, teacher_recipe

LEVELS: tuple[KDLevel, ...] = ("none", "frame", "pixel", "pixel_kl")


def swin_recipe(data: DataSpec) -> Recipe:
    """A teacher; its stochastic depth draws in training."""
    recipe = teacher_recipe(data)
    optim = OptimSpec(name="adamw", lr=1e-3, epochs=1, batch_size=4, group_size=2)
    return replace(recipe, model=ModelSpec(name="swin3d_mini", resolution=64), optim=optim)


def student(data: DataSpec, level: KDLevel, *, name: str = "swin3d_mini") -> Recipe:
    teacher = swin_recipe(data)
    kd = KDSpec(level=level, teacher_mode="official_train")
    model = ModelSpec(name=name, resolution=32)
    return replace(teacher, model=model, kd=kd, teacher=None if level == "none" else teacher, model_seed=3)


@pytest.fixture(scope="module")
def job(demo_data: DataSpec, demo_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """A trained Swin, and the cohort of every level at half its resolution that is to be taught by it."""
    folder = tmp_path_factory.mktemp("runs")
    manifest = replace(demo_manifest, train=demo_manifest.train[:9])  # two steps of two groups
    (outcome,) = fit(Fit({"5w1": swin_recipe(demo_data)}, manifest, folder / "teacher", None), True).values()
    assert len(outcome) == 64, outcome  # a hash, not a traceback
    recipes = {f"{number}{level}": student(demo_data, level) for number, level in enumerate(LEVELS)}
    recipes["4slowonly"] = student(demo_data, "none", name="slowonly_mini10")
    return Fit(recipes, manifest, folder / "cohort", folder / "teacher" / "5w1" / "weights.pt")


@pytest.fixture(scope="module")
def hashes(job: Fit) -> dict[str, str]:
    return fit(job, True)


def test_every_level_trains_a_swin_to_other_weights(job: Fit, hashes: dict[str, str]) -> None:
    assert all(len(outcome) == 64 for outcome in hashes.values()), hashes
    assert len(set(hashes.values())) == len(job.recipes)
    for step_id in hashes:
        assert np.isfinite((read_json(job.folder / step_id / "DONE.json") or {})["metrics"]["test/top1"])


@pytest.mark.parametrize("step_id", ["2pixel", "4slowonly"])
def test_a_3d_student_ends_with_the_bits_it_has_alone(job: Fit, hashes: dict[str, str], step_id: str) -> None:
    assert fit(job.spread(f"alone-{step_id}", {step_id: job.recipes[step_id]}), True)[step_id] == hashes[step_id]


@pytest.mark.parametrize("level", ["frame", "pixel_kl"])
def test_a_student_with_a_map_for_each_frame_is_no_student_of_a_swin(
    job: Fit, demo_data: DataSpec, level: KDLevel
) -> None:
    recipe = student(demo_data, level, name="slowonly_mini10")
    with pytest.raises(
        BadInput,
        match=r"step times: kd\.level is .* .slowonly_mini10. computes 4 maps in time and its teacher .swin3d_mini. "
        r"computes 2;",
    ):
        fit(job.spread(f"times-{level}", {"times": recipe}), True)


# As pt2 alone: the ONNX of a Swin is right too, and takes twenty seconds to make.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin3d_mini", "slowonly_mini10"])
def test_a_3d_network_is_exported_to_a_file_that_gives_its_logits(tmp_path: Path, name: str) -> None:
    torch.manual_seed(3)
    spec = ModelSpec(name=name, resolution=32)
    model = build_model(spec, num_classes=5)
    nn.init.normal_(model.classifier.weight, std=1.0)
    content = {"model": model.state_dict(), "model_spec": asdict(spec), "classes": list("abcde"), "step_id": "made"}
    torch.save({**content, "num_frames": 4, "short_side": 48, "crop_size": 48}, tmp_path / "weights.pt")
    trained = load_trained(tmp_path / "weights.pt")
    export(trained, tmp_path / "model.pt2", format="pt2")
    clips = torch.randint(0, 256, (2, 4, 3, 48, 48), dtype=torch.uint8)
    logits, _ = open_exported(tmp_path / "model.pt2")
    np.testing.assert_allclose(logits(clips), trained.logits(clips), atol=1e-3)
