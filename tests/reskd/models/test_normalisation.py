"""Each pretrained network gets pixels as it was trained with them: in a cohort, after training, and when exported."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torchvision.models import get_weight
from torchvision.transforms import functional

from orchestrator.spec.identity import payload, step_id
from reskd.data.model_inputs import ModelInputs
from reskd.deploy.card import PixelNetwork, load_trained
from reskd.distill.teacher import load_teacher
from reskd.models.catalogue import MODELS, build_model, normalisation_of
from reskd.normalisation import IMAGENET, KINETICS_R3D, Normalisation
from reskd.recipe import ModelSpec, Recipe

CPU = torch.device("cpu")
CLIPS = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "weights"), [(name, weights) for name, network in MODELS.items() for weights in network.weights]
)
def test_a_networks_normalisation_is_that_of_torchvisions_own_preprocessing(name: str, weights: str) -> None:
    theirs = get_weight(MODELS[name].weights[weights]).transforms()
    assert normalisation_of(ModelSpec(name=name, weights=weights)) == (
        pytest.approx(tuple(theirs.mean)),
        pytest.approx(tuple(theirs.std)),
    )
    assert normalisation_of(ModelSpec(name=name, weights=weights, normalisation="imagenet")) == IMAGENET
    assert normalisation_of(ModelSpec(name=name)) == IMAGENET


def test_a_network_of_timm_has_that_of_timms_record() -> None:
    timm = pytest.importorskip("timm")
    inception = normalisation_of(ModelSpec(name="timm:vit_tiny_patch16_224", weights="weights.pt"))
    known = timm.get_pretrained_cfg("vit_tiny_patch16_224")
    assert inception == Normalisation(known.mean, known.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_one_group_is_normalised_once_for_each_distinct_normalisation() -> None:
    inputs = ModelInputs(CLIPS, device=CPU, dtype=torch.float32)
    spec = ModelSpec(resolution=32)
    for by in (IMAGENET, KINETICS_R3D):
        expected = functional.normalize(CLIPS / 255, by.mean, by.std)
        torch.testing.assert_close(inputs.of(spec, by), expected)
        assert inputs.of(spec, by) is inputs.of(spec, by)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A trained R3D-18 that started from Kinetics weights, as a finished step leaves it."""
    torch.manual_seed(0)
    spec = ModelSpec(name="r3d_18", resolution=32)
    content = {
        "model": build_model(spec, num_classes=2).state_dict(),
        "model_spec": asdict(replace(spec, weights="kinetics_v1")),
        "classes": ["a", "b"],
        "num_frames": 3,
        "short_side": 32,
        "crop_size": 32,
        "step_id": "0",
        "normalisation": [list(values) for values in KINETICS_R3D],
    }
    torch.save(content, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_a_teacher_and_an_exported_network_keep_it(weights: Path) -> None:
    teacher = load_teacher(weights, classes=("a", "b"), mode="eval", device=CPU)
    assert teacher.model.normalisation == teacher.for_students.normalisation == KINETICS_R3D
    trained = load_trained(weights)
    assert (trained.card.mean, trained.card.std) == KINETICS_R3D
    seen = functional.normalize(CLIPS / 255, KINETICS_R3D.mean, KINETICS_R3D.std)
    with torch.no_grad():
        torch.testing.assert_close(PixelNetwork(trained)(CLIPS), trained.model(seen).clip_logits)


def test_weights_from_before_were_trained_with_imagenets(weights: Path) -> None:
    content = torch.load(weights)
    del content["normalisation"]
    torch.save(content, weights)
    assert load_teacher(weights, classes=("a", "b"), mode="eval", device=CPU).model.normalisation == IMAGENET
    assert (load_trained(weights).card.mean, load_trained(weights).card.std) == IMAGENET


def test_it_counts_in_the_identity_by_its_values_and_only_where_it_is_another() -> None:
    def id_of(**model: object) -> str:
        recipe = Recipe(model=ModelSpec(**model))  # type: ignore[arg-type]
        return step_id(payload(recipe, manifest_sha256="m", teacher=None))

    alike = {"name": "tsn_resnet18", "weights": "imagenet_v1"}
    assert id_of(**alike) == id_of(**alike, normalisation="imagenet")
    other = {"name": "r3d_18", "weights": "kinetics_v1"}
    assert id_of(**other) != id_of(**other, normalisation="imagenet")
    recipe = Recipe(model=ModelSpec(**other, normalisation="imagenet"))
    assert "normalisation" not in payload(recipe, manifest_sha256="m", teacher=None)["model"]
