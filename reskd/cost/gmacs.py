"""Counts the cost of a network: GMACs by the paper's rule, true FLOPs, and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from reskd.cost.complexity import Complexity
from reskd.cost.trace import Kernel, evaluation_kernels, num_elements
from reskd.models.video_model import VideoModel

aten = torch.ops.aten
LAYERS = (aten.convolution, aten._convolution, aten.mm, aten.addmm)
"""Products of activations with a layer's weights. Attention multiplies activations with each other, in batches
(bmm)."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm)
RELUS = (nn.ReLU, nn.ReLU6)
POOLS = (
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)


def complexity(model: VideoModel, *, resolution: int, num_frames: int, num_views: int = 1) -> Complexity:
    """Count one evaluation forward of ``num_frames`` square frames of ``resolution`` pixels, times ``num_views``.

    Nothing is computed: the forward runs on shapes only (torch's meta device). The model keeps its parameters, its
    device and each module's mode.

    The paper's rule: a multiply-accumulate counts 1. Per element, batch norm and layer norm count 2, ReLU 1, and
    pooling 1 (of its input). Biases, additions, resizes, softmax, GELU and attention products count 0. It reproduces
    the published values within 1 %.
    """
    kernels = evaluation_kernels(model, resolution=resolution, num_frames=num_frames)
    layers = sum(kernel.flops for kernel in kernels if kernel.packet in LAYERS) / 2
    elements = sum(_elements(kernel) for kernel in kernels)
    return Complexity(
        gmacs=(layers + elements) * num_views / 1e9,
        gmacs_layers=layers * num_views / 1e9,
        gflops=sum(kernel.flops for kernel in kernels) * num_views / 1e9,
        num_params=sum(parameter.numel() for parameter in model.parameters()),
    )


def mean_complexity(
    model: VideoModel, *, resolution: int, clips_by_frames: Mapping[int, float], num_views: int = 1
) -> Complexity:
    """The mean cost of clips of which some stopped early. ``clips_by_frames``: frames per view -> number of clips.

    A clip that stopped after t frames costs as much as a forward of t frames, with the gates and classifiers of all
    exits up to t.
    """
    num_clips = sum(clips_by_frames.values())
    shares = [
        (complexity(model, resolution=resolution, num_frames=num_frames, num_views=num_views), clips / num_clips)
        for num_frames, clips in clips_by_frames.items()
    ]
    costs = ("gmacs", "gmacs_layers", "gflops")
    means = {name: sum(getattr(cost, name) * share for cost, share in shares) for name in costs}
    return replace(shares[0][0], **means)


def _elements(kernel: Kernel) -> int:
    """Number of element-wise operations of a kernel in one of these layers; 0 for other layers."""
    if kernel.packet is aten.as_strided_:  # the last part of an average over all pixels; it computes nothing
        return 0
    if issubclass(kernel.module, NORMS):
        return 2 * num_elements(kernel.outputs[0])
    if issubclass(kernel.module, RELUS):
        return num_elements(kernel.outputs[0])
    if issubclass(kernel.module, POOLS):
        return num_elements(kernel.inputs[0])
    return 0
