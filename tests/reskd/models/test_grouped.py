"""Several groups in one pass against the same groups one after another, in float64."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reskd.distill.teacher import Teacher
from reskd.models.catalogue import build_model
from reskd.models.grouped import CannotGroup, GroupedBatchNorm, group_layers
from reskd.models.video_model import VideoModel
from reskd.recipe import ModelSpec

CPU = torch.device("cpu")
SEEDS = (11, 12, 13)
NUM_CLIPS = 2  # of a group
NETWORKS = {
    "tsn_resnet18": 40,
    "tsn_mobilenet_v2": 40,
    "tsn_mini10": 24,
    "tsm_resnet18": 40,
    "frameexit_mini10": 24,
    "slowonly_mini10": 24,
    "swin3d_mini": 32,
    "mvit_v2_s": 32,
}
LARGE = ("tsn_resnet18", "tsn_mobilenet_v2", "tsm_resnet18", "mvit_v2_s")
"""Seconds each in float64."""


def slow_if_large(*names: str) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in names]


class Pass(NamedTuple):
    """What one step over all groups leaves."""

    parts: list[Tensor]
    gradients: dict[str, Tensor]
    statistics: Tensor
    """(G, all channels)."""


def build(name: str) -> VideoModel:
    torch.manual_seed(3)
    spec = ModelSpec(name=name, resolution=NETWORKS[name], dropout=0.5)
    model = build_model(spec, num_classes=5, num_frames=4).double().train()
    with torch.no_grad():
        model.classifier.weight.mul_(100)  # so that what happens in the backbone shows in the loss
        for norm in norms_of(model):
            if norm.running_mean is not None:
                norm.running_mean.normal_()
    return model


def norms_of(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def floats_of(model: nn.Module) -> list[Tensor]:
    return [part for norm in norms_of(model) for part in norm.buffers() if part.is_floating_point()]


def data(resolution: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    num_clips = NUM_CLIPS * len(SEEDS)
    return torch.randn(num_clips, 4, 3, resolution, resolution, dtype=torch.float64), torch.arange(num_clips) % 5


def one_after_another(model: VideoModel, clips: Tensor, labels: Tensor) -> Pass:
    """As a cohort does it: each group from the same running statistics, losses added up."""
    old = [part.clone() for part in floats_of(model)]
    parts, after = [], []
    for seed, group, truth in zip(SEEDS, clips.split(NUM_CLIPS), labels.split(NUM_CLIPS), strict=True):
        for part, value in zip(floats_of(model), old, strict=True):
            part.copy_(value)
        torch.manual_seed(seed)
        output = model(group)
        model.task_loss(output, truth).backward()
        parts.append(output)
        after.append([part.clone() for part in floats_of(model)])
    return Pass(
        [torch.cat(part).detach() for part in zip(*parts, strict=True)],
        {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None},
        torch.stack([torch.cat([*parts, torch.zeros(0, dtype=torch.float64)]) for parts in after]),
    )


def in_one_pass(model: VideoModel, clips: Tensor, labels: Tensor) -> Pass:
    pass_groups = group_layers(model)
    with pass_groups.of(SEEDS, device=CPU):
        output = model(clips)
        loss = model.task_loss(output, labels)
    (loss * len(SEEDS)).backward()  # a mean over groups of equal size -> their sum
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return Pass([part.detach() for part in output], gradients, pass_groups.statistics)


def off(ours: Tensor, theirs: Tensor, *, least: float = 0.0) -> float:
    """The largest difference, as a share of the largest element of what is expected, or of ``least``."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max()) / max(float(theirs.abs().max()), least)


@pytest.mark.parametrize("name", slow_if_large(*NETWORKS))
def test_one_pass_gives_outputs_gradients_and_statistics_of_the_groups_one_after_another(name: str) -> None:
    clips, labels = data(NETWORKS[name])
    model = build(name)
    expected = one_after_another(copy.deepcopy(model), clips, labels)
    before = [part.clone() for part in floats_of(model)]
    found = in_one_pass(model, clips, labels)
    for part, value in zip(found.parts, expected.parts, strict=True):
        assert off(part, value) < 1e-12
    assert found.gradients.keys() == expected.gradients.keys()
    # A bias whose effect the next batch norm takes away has no gradient but rounding.
    least = 1e-2 * max(float(value.abs().max()) for value in expected.gradients.values())
    for key, value in expected.gradients.items():
        assert off(found.gradients[key], value, least=least) < 1e-12, key
    assert found.statistics.shape == expected.statistics.shape
    if found.statistics.numel():
        assert off(found.statistics, expected.statistics) < 1e-12
    for part, old in zip(floats_of(model), before, strict=True):
        assert torch.equal(part, old)  # the step writes them, from all its groups


@pytest.mark.parametrize("name", slow_if_large("tsn_mini10", "tsn_resnet18"))
@pytest.mark.parametrize("mode", ["eval", "batch", "official_train"])
def test_a_teacher_answers_several_groups_as_it_answers_each(mode: str, name: str) -> None:
    clips, _ = data(NETWORKS[name])
    model, spec = build(name), ModelSpec(name=name)
    plain, ours = (Teacher(copy.deepcopy(model), spec, mode=mode).for_students for _ in range(2))  # type: ignore[arg-type]
    answers = []
    for seed, group in zip(SEEDS, clips.split(NUM_CLIPS), strict=True):
        torch.manual_seed(seed)
        answers.append(plain(group))
    with group_layers(ours).of(SEEDS, device=CPU), torch.no_grad():
        output = ours(clips)
    for part, values in zip(output, zip(*answers, strict=True), strict=True):
        assert off(part, torch.cat(values)) < 1e-12


def test_a_pass_over_fewer_groups_follows_one_over_more() -> None:
    clips, _ = data(24)
    model = build("tsn_mini10")
    fresh = copy.deepcopy(model)
    pass_groups = group_layers(model)
    for seeds in (SEEDS, SEEDS[:1]):
        with pass_groups.of(seeds, device=CPU):
            output = model(clips[: NUM_CLIPS * len(seeds)])
    torch.manual_seed(SEEDS[0])
    expected = fresh(clips[:NUM_CLIPS])
    assert off(output.clip_logits.detach(), expected.clip_logits.detach()) < 1e-12
    first = next(iter(floats_of(fresh)))
    assert torch.equal(pass_groups.statistics[:, : len(first)], first[None])


@pytest.mark.parametrize("name", slow_if_large("frameexit_mini10", "tsm_resnet18"))
def test_what_is_saved_and_optimised_of_a_model_stays_and_outside_of_a_pass_it_is_what_it_was(name: str) -> None:
    model = build(name)
    plain = copy.deepcopy(model)
    weights, buffers = list(model.parameters()), list(model.buffers())
    group_layers(model)
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), weights, strict=True))
    assert all(ours is theirs for ours, theirs in zip(model.buffers(), buffers, strict=True))
    assert list(model.state_dict()) == list(plain.state_dict())
    clips, _ = data(NETWORKS[name])
    for training in (True, False):
        outputs = []
        for network in (model.train(training), plain.train(training)):
            torch.manual_seed(1)
            outputs.append(network(clips))
        assert torch.equal(outputs[0].clip_logits, outputs[1].clip_logits)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True))


class DrawsByItself(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return F.dropout(values, 0.5, training=self.training)


class OwnNorm(nn.BatchNorm2d):
    pass


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (OwnNorm(4), "0 .OwnNorm. is a batch norm of another kind"),
        (nn.BatchNorm2d(4, momentum=None), "averages over all batches"),
        (nn.MultiheadAttention(4, 1, dropout=0.1), "0 .MultiheadAttention. draws by itself .dropout 0.1"),
    ],
)
def test_a_layer_that_cannot_tell_groups_apart_is_named_and_nothing_is_changed(layer: nn.Module, reason: str) -> None:
    model = nn.Sequential(layer, nn.BatchNorm2d(4), nn.Dropout())
    with pytest.raises(CannotGroup, match=reason):
        group_layers(model)
    assert not any(isinstance(module, GroupedBatchNorm) for module in model.modules())


def test_a_draw_that_no_layer_announced_is_noticed_after_the_forward() -> None:
    model = nn.Sequential(nn.Dropout(), DrawsByItself())
    pass_groups = group_layers(model)
    with pytest.raises(CannotGroup, match="has drawn random numbers"), pass_groups.of(SEEDS, device=CPU):
        model(torch.ones(6, 4))
    with pass_groups.of(SEEDS, device=CPU):
        model.eval()(torch.ones(6, 4))


def test_groups_that_do_not_divide_the_clips_are_refused() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4))
    with pytest.raises(CannotGroup, match="7 does not divide into 3"), group_layers(model).of(SEEDS, device=CPU):
        model(torch.ones(7, 4))


def test_timms_drop_path_draws_by_groups_too() -> None:
    timm_layers = pytest.importorskip("timm.layers", reason="timm is not installed")
    model = nn.Sequential(timm_layers.DropPath(0.5), nn.Dropout(0.3))
    clips = torch.rand(48, 5, dtype=torch.float64)
    expected = []
    for seed, group in zip(SEEDS, clips.split(16), strict=True):
        torch.manual_seed(seed)
        expected.append(model(group))
    with group_layers(model).of(SEEDS, device=CPU):
        found = model(clips)
    assert torch.equal(found, torch.cat(expected))
