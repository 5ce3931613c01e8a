"""Which parameters share a rate and a decay, what rate a step takes, and a checkpoint from before there were groups."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reskd.models.catalogue import build_model
from reskd.recipe import ModelSpec, OptimSpec, Recipe
from reskd.runtime.workers import Workers
from reskd.training.member import Member
from reskd.training.optimizer import parameter_groups

CPU = torch.device("cpu")


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


def test_the_groups_of_an_official_2d_teacher() -> None:
    """TSMOptimizerConstructor: weights of layers x1 with decay, their biases x2 without, batch norm x1 without."""
    model = build_model(ModelSpec(name="tsn_mobilenet_v2"), num_classes=6)
    found = named_groups(OptimSpec(decay="weights", bias_lr=2.0, weight_decay=1e-4), "tsn_mobilenet_v2")
    for prefix, module in model.named_modules():
        own = {name: found[f"{prefix}.{name}"] for name, _ in module.named_parameters(recurse=False)}
        if isinstance(module, torch.nn.BatchNorm2d):
            assert own == {"weight": (1.0, 0.0), "bias": (1.0, 0.0)}
        elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            assert own.pop("weight") == (1.0, 1e-4)
            assert set(own.values()) <= {(2.0, 0.0)}
    assert found["classifier.bias"] == (2.0, 0.0)


def test_the_groups_of_the_official_swin() -> None:
    """mmcv's custom_keys: the longest key that a name holds decides alone, and `norm` is shorter than `backbone`."""
    keys = {"relative_position_bias_table": (1.0, 0.0), "backbone": (0.1, 0.02), "norm": (1.0, 0.0)}
    found = named_groups(
        OptimSpec(name="adamw", backbone_lr=0.1, decay="official_swin", weight_decay=0.02), "swin3d_mini"
    )
    for name, group in found.items():
        first = next((value for key, value in keys.items() if key in name), (1.0, 0.02))
        assert group == first, name
    assert sum("relative_position_bias_table" in name for name in found) == 6


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
