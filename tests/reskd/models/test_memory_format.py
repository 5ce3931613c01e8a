"""Channels-last training with gradients in one vector and fused optimisers is plain PyTorch's training, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from reskd.models.catalogue import build_model
from reskd.models.memory_format import flatten_buffers, in_fast_memory_format, vector_views
from reskd.models.video_model import VideoModel
from reskd.recipe import ModelSpec, OptimSpec
from reskd.training.optimizer import build_optimizer

LABELS = torch.arange(4)


def network(name: str) -> VideoModel:
    torch.manual_seed(0)
    return build_model(ModelSpec(name=name), num_classes=5).double().train()


def with_one_vector(model: VideoModel) -> torch.Tensor:
    parameters = list(model.parameters())
    vector = torch.zeros(sum(parameter.numel() for parameter in parameters), dtype=torch.float64)
    for parameter, gradient in zip(parameters, vector_views(vector, parameters), strict=True):
        parameter.grad = gradient
    return vector


def test_buffers_in_two_vectors_are_the_modules_own_and_change_with_them() -> None:
    model = network("tsn_mini10")
    for number, buffer in enumerate(model.buffers()):
        buffer.fill_(number)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    floats, counters = flatten_buffers(norms, dtype=torch.float64, device=torch.device("cpu"))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert torch.equal(floats, statistics_of(model, before))
    assert counters.tolist() == [int(norm.num_batches_tracked) for norm in norms]
    floats.zero_()
    model(torch.randn(1, 2, 3, 24, 24, dtype=torch.float64))
    assert counters.tolist() == [int(before[f"{name}.num_batches_tracked"]) + 1 for name in names_of_norms(model)]
    assert all(bool(norm.running_mean.any()) for norm in norms)
    assert torch.equal(floats[: norms[0].num_features], norms[0].running_mean)
    model.load_state_dict(before, strict=False)
    assert torch.equal(floats, statistics_of(model, before))


def names_of_norms(model: VideoModel) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]


def statistics_of(model: VideoModel, state: dict[str, torch.Tensor]) -> torch.Tensor:
    names = [f"{name}.running_{what}" for name in names_of_norms(model) for what in ("mean", "var")]
    return torch.cat([state[name] for name in names])


@pytest.mark.parametrize(
    "name",
    [
        "tsn_mini10",
        "slowonly_mini10",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("tsm_resnet18", "tsn_mobilenet_v2")),
    ],
)
def test_steps_in_the_fast_layout_are_those_of_plain_torch(name: str) -> None:
    spec = OptimSpec(lr=0.01, weight_decay=1e-3, nesterov=True)
    plain = network(name)
    ours = in_fast_memory_format(copy.deepcopy(plain))
    vector, optimizer = with_one_vector(ours), build_optimizer(spec, ours)
    reference = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=spec.momentum, weight_decay=1e-3, nesterov=True)
    clips = torch.randn(4, 2, 3, 40, 40, dtype=torch.float64)
    for step in range(3):
        reference.zero_grad()
        vector.zero_()
        for model in (plain, ours):
            torch.manual_seed(step)
            F.cross_entropy(model(clips).clip_logits, LABELS).backward()
        expected, found = (
            torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
            for model in (plain, ours)
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
        assert torch.linalg.vector_norm(vector) == pytest.approx(float(torch.linalg.vector_norm(expected)))
        reference.step()
        optimizer.step()
    for parameter, other in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(other, parameter, rtol=1e-6, atol=1e-9)


def test_adamw_too_meets_each_gradient_where_its_parameter_lies() -> None:
    spec = OptimSpec(name="adamw", lr=0.01, weight_decay=0.1)
    plain = network("tsn_mini10")
    ours = in_fast_memory_format(copy.deepcopy(plain))
    with_one_vector(ours)
    optimizer = build_optimizer(spec, ours)
    reference = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        for parameter, other in zip(plain.parameters(), ours.parameters(), strict=True):
            assert other.grad is not None
            parameter.grad = torch.randn_like(parameter)
            other.grad.copy_(parameter.grad)
        reference.step()
        optimizer.step()
    for parameter, other in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(other, parameter, rtol=1e-9, atol=1e-12)


def test_only_networks_of_2d_convolutions_change_their_layout() -> None:
    flat, deep = in_fast_memory_format(network("tsn_mini10")), in_fast_memory_format(network("slowonly_mini10"))
    weights = [parameter for parameter in flat.parameters() if parameter.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert all(parameter.is_contiguous() for parameter in deep.parameters())


def test_views_of_a_vector_cover_it_once_and_have_their_tensors_layouts() -> None:
    like = [torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.empty(7), torch.empty(6, 2).T]
    vector = torch.arange(2 * 3 * 4 * 5 + 7 + 12)
    found = vector_views(vector, like)
    assert [view.shape for view in found] == [tensor.shape for tensor in like]
    assert found[0].stride() == like[0].stride()
    together = torch.cat([view.flatten() for view in found])
    assert sorted(together.tolist()) == vector.tolist()
    found[0][1, 2, 3, 4] = -1
    assert (vector == -1).sum() == 1
