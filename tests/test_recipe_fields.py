"""Fields that came with the paper's experiments: enlarged frames, strides, what decays, the backbone's rate."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reskd.cohort import Views
from reskd.data.transforms import normalise, view
from reskd.errors import BadInput
from reskd.flops import complexity
from reskd.member import Member, parameter_groups
from reskd.models import build_model
from reskd.recipe import ModelSpec, OptimSpec, Recipe
from reskd.workers import Workers
from tests.by_hand import bilinear

CPU = torch.device("cpu")


def test_enlarged_frames_are_those_of_the_resolution_resized_again() -> None:
    clips = torch.randn(2, 3, 3, 32, 32, dtype=torch.float64)
    small = bilinear(clips, (12, 12), align_corners=False)
    expected = bilinear(small, (20, 20), align_corners=False)
    seen = view(clips, resolution=12, antialias=False, enlarge_to=20)
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)
    # With antialias it is the first resize alone that has it.
    small = view(clips, resolution=12, antialias=True)
    seen = view(clips, resolution=12, antialias=True, enlarge_to=20)
    torch.testing.assert_close(seen, bilinear(small, (20, 20), align_corners=False), rtol=0, atol=1e-12)


def test_frames_may_be_enlarged_to_more_than_the_crop_and_to_their_own_size() -> None:
    clips = torch.randn(1, 2, 3, 16, 16)
    assert view(clips, resolution=8, antialias=False, enlarge_to=24).shape == (1, 2, 3, 24, 24)
    assert torch.equal(
        view(clips, resolution=8, antialias=False, enlarge_to=8), view(clips, resolution=8, antialias=False)
    )


def test_networks_that_see_alike_share_one_view() -> None:
    clips = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    views = Views(clips, device=CPU, dtype=torch.float64)
    spec = ModelSpec(name="tsn_mini10", resolution=12, enlarge_to=24)
    seen = views.of(spec)
    assert views.of(replace(spec, name="tsn_mini18", dropout=0.1)) is seen
    for other in (replace(spec, enlarge_to=None), replace(spec, enlarge_to=32), replace(spec, resolution=24)):
        own = views.of(other)
        assert own.shape[-1] == other.input_size
        assert own.shape != seen.shape or not torch.equal(own, seen)
    pixels = normalise(clips, dtype=torch.float64)
    torch.testing.assert_close(seen, view(pixels, resolution=12, antialias=False, enlarge_to=24))


def test_frames_are_not_enlarged_to_less_than_they_are() -> None:
    with pytest.raises(BadInput, match=r"model\.enlarge_to must be at least model\.resolution \(24\).*got 16"):
        ModelSpec(resolution=24, enlarge_to=16)


@pytest.mark.parametrize(("stride", "sides"), [(None, (16, 8, 4, 2)), (32, (16, 8, 4, 2)), (16, (32, 16, 8, 4))])
def test_a_resnet18_costs_what_its_layers_written_out_do_at_either_stride(
    stride: int | None, sides: tuple[int, ...]
) -> None:
    """64 pixels, so 32 after the stem; a pooling of stride 1 leaves them and every later map is twice as wide."""
    layers, elements = 32 * 32 * 64 * 3 * 49, 32 * 32 * 64 * (2 + 1 + 1)  # norm, ReLU, the pooling's input
    inputs = 64
    for side, width in zip(sides, (64, 128, 256, 512), strict=True):
        cells = side * side * width
        layers += cells * 9 * (inputs + 3 * width)
        elements += cells * 4 * (2 + 1)
        if inputs != width:
            layers += cells * inputs
            elements += cells * 2
        inputs = width
    layers += 2 * 512 * 6  # the frame's logits and the clip's
    elements += sides[-1] ** 2 * 512  # the last pooling
    with torch.device("meta"):
        model = build_model(ModelSpec(name="tsn_resnet18", stride=stride), num_classes=6)
    cost = complexity(model, resolution=64, num_frames=1)
    assert cost.gmacs_layers * 1e9 == pytest.approx(layers)
    assert cost.gmacs * 1e9 == pytest.approx(layers + elements)


@pytest.mark.parametrize("name", ["tsn_resnet50", "tsm_resnet18"])
def test_a_stride_of_16_doubles_the_map_and_leaves_every_tensor(name: str) -> None:
    with torch.device("meta"):
        wide, own = (build_model(ModelSpec(name=name, stride=stride), num_classes=6) for stride in (16, None))
        clip = torch.empty(1, 4, 3, 64, 64)
        maps = [model.eval().forward_features(clip).shape[-1] for model in (wide, own)]
    assert maps == [4, 2]
    shapes = [{key: tensor.shape for key, tensor in model.state_dict().items()} for model in (wide, own)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["tsn_mobilenet_v2", "tsn_mini10", "swin3d_mini", "slowonly_resnet18"])
def test_a_stride_is_refused_where_there_is_no_choice(name: str) -> None:
    with pytest.raises(BadInput, match=rf"model\.stride: 16 with '{name}'; only 2-D ResNets have a choice, 32 or 16"):
        build_model(ModelSpec(name=name, stride=16), num_classes=6)


@pytest.mark.parametrize("stride", [8, 64])
def test_no_other_stride_is_taken(stride: int) -> None:
    with pytest.raises(BadInput, match=f"model.stride: {stride} with 'tsn_resnet18'"):
        build_model(ModelSpec(name="tsn_resnet18", stride=stride), num_classes=6)


def named_groups(optim: OptimSpec, name: str) -> dict[str, tuple[float, float]]:
    """Every parameter -> factor of the rate, weight decay."""
    model = build_model(ModelSpec(name=name), num_classes=6)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    listed = [
        (names[id(parameter)], (group["lr_factor"], group["weight_decay"]))
        for group in parameter_groups(optim, model)
        for parameter in group["params"]
    ]
    assert sorted(key for key, _ in listed) == sorted(names.values())  # each once
    return dict(listed)


def test_by_default_there_is_one_group_in_the_models_order() -> None:
    model = build_model(ModelSpec(name="tsn_mini10"), num_classes=6)
    (group,) = parameter_groups(OptimSpec(), model)
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in model.parameters()]
    assert (group["lr_factor"], group["weight_decay"]) == (1.0, 1e-4)


def test_the_backbone_has_its_factor_and_the_classifier_the_rate_itself() -> None:
    found = named_groups(OptimSpec(name="adamw", backbone_lr=0.1, weight_decay=0.02), "swin3d_mini")
    assert {key for key, (factor, _) in found.items() if factor == 1.0} == {"classifier.weight", "classifier.bias"}
    assert {value for key, value in found.items() if key.startswith("backbone.")} == {(0.1, 0.02)}


def test_with_decay_on_weights_norms_and_biases_do_not_decay() -> None:
    found = named_groups(OptimSpec(decay="weights", weight_decay=0.02), "tsn_mini10")
    decaying = {key for key, (_, decay) in found.items() if decay == 0.02}
    assert decaying == {
        key for key in found if "conv" in key or key.endswith("downsample.0.weight") or key == "classifier.weight"
    }
    assert {value for key, value in found.items() if key not in decaying} == {(1.0, 0.0)}
    assert "backbone.bn1.weight" in found.keys() - decaying


def member(**optim: object) -> Member:
    spec = OptimSpec(**{"epochs": 2, "batch_size": 2, "group_size": 2, **optim})  # type: ignore[arg-type]
    recipe = Recipe(model=ModelSpec(name="tsn_mini10", resolution=16, dropout=0.5), optim=spec)
    return Member("0" * 16, recipe, num_classes=6, steps_per_epoch=2, device=CPU)


def take_step(member: Member, step: int) -> None:
    clips = torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
    member.begin()
    member.run_group(clips, torch.tensor([1, 4]), None, step=step, group=0)
    member.start_reduction(Workers(), step=step)
    assert member.finish_step(Workers(), step=step, num_groups=1) is not None


def test_each_group_takes_its_share_of_the_steps_rate() -> None:
    trained = member(name="adamw", lr=1e-3, backbone_lr=0.1, decay="weights", warmup_epochs=1.5)
    for step, rate in enumerate([0.1 * 1e-3, (0.1 + 0.9 / 3) * 1e-3, (0.1 + 0.9 * 2 / 3) * 1e-3 / 2, 1e-3 / 2]):
        take_step(trained, step)
        rates = {(group["lr_factor"], group["weight_decay"]): group["lr"] for group in trained.optimizer.param_groups}
        assert len(rates) == 4
        for (factor, _), found in rates.items():
            assert math.isclose(found, factor * rate, rel_tol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_checkpoint_from_before_factors_goes_on_with_the_same_bits(name: str) -> None:
    whole = member(name=name, lr=0.02)
    take_step(whole, 0)
    state = copy.deepcopy(whole.state())
    for group in state["optimizer"]["param_groups"]:
        del group["lr_factor"]
    resumed = member(name=name, lr=0.02)
    resumed.load_state(state)
    for step in (1, 2):
        take_step(whole, step)
        take_step(resumed, step)
    assert same_bits(whole.model.state_dict(), resumed.model.state_dict())


def same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return all(np.array_equal(ours[key].numpy(), theirs[key].numpy()) for key in ours | theirs)
