"""What a network costs on paper: GMACs as the paper counts them, true FLOPs, and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from reskd.models.video_model import VideoModel, evaluating

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
RELUS = (nn.ReLU, nn.ReLU6)
POOLS = (
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Complexity:
    """Cost of classifying one video: every frame of every view."""

    gmacs: float
    """1e9 multiply-accumulates and element-wise operations: what the paper prints as "GFLOPs"."""
    gmacs_layers: float
    """1e9 multiply-accumulates of convolutions and linear layers alone."""
    gflops: float
    """1e9 floating-point operations of every matrix product, attention too, two per multiply-accumulate."""
    num_params: int


def complexity(model: VideoModel, *, resolution: int, num_frames: int, num_views: int = 1) -> Complexity:
    """Count one evaluation forward of ``num_frames`` frames of ``resolution`` pixels square, times ``num_views``.

    Nothing is computed: the forward runs on shapes alone (torch's meta device). The model keeps its parameters,
    its device and each module's mode.

    The published values are reproduced within 1 % by one multiply-accumulate as 1 and, per element, batch norm
    as 2, ReLU as 1, pooling as 1 (of its input); biases, additions, resizes and attention products do not count.
    """
    counts = {"layers": 0, "elements": 0}
    on_meta = {name: torch.empty_like(value, device="meta") for name, value in _tensors(model)}
    dtype = next(model.parameters()).dtype
    clip = torch.empty(1, num_frames, 3, resolution, resolution, dtype=dtype, device="meta")
    with evaluating(model), torch.no_grad(), _counting(model, counts), FlopCounterMode(display=False) as flops:
        functional_call(model, on_meta, (clip,))
    return Complexity(
        gmacs=(counts["layers"] + counts["elements"]) * num_views / 1e9,
        gmacs_layers=counts["layers"] * num_views / 1e9,
        gflops=flops.get_total_flops() * num_views / 1e9,
        num_params=sum(parameter.numel() for parameter in model.parameters()),
    )


def mean_complexity(model: VideoModel, *, resolution: int, clips_by_frames: Mapping[int, int]) -> Complexity:
    """The mean cost of clips of which some stopped early; ``clips_by_frames``: frames looked at -> number of clips.

    A clip that stopped after t frames costs what a forward of t frames does: the gates and classifiers of all exits
    that it came by too.
    """
    num_clips = sum(clips_by_frames.values())
    costs = [
        (complexity(model, resolution=resolution, num_frames=num_frames), clips / num_clips)
        for num_frames, clips in clips_by_frames.items()
    ]
    return Complexity(
        gmacs=sum(cost.gmacs * share for cost, share in costs),
        gmacs_layers=sum(cost.gmacs_layers * share for cost, share in costs),
        gflops=sum(cost.gflops * share for cost, share in costs),
        num_params=costs[0][0].num_params,
    )


@contextmanager
def _counting(model: nn.Module, counts: dict[str, int]) -> Iterator[None]:
    """Add each layer's cost to ``counts`` whenever it runs."""
    handles = [module.register_forward_hook(_hook(counts)) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(counts: dict[str, int]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, CONVS):
            # Each output element is a sum over one filter: in_channels / groups x kernel.
            counts["layers"] += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            counts["layers"] += output.numel() * module.in_features
        elif isinstance(module, NORMS):
            counts["elements"] += 2 * output.numel()
        elif isinstance(module, RELUS):
            counts["elements"] += output.numel()
        elif isinstance(module, POOLS):
            counts["elements"] += inputs[0].numel()

    return count


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
