"""What a network costs on paper: GMACs as the paper counts them, true FLOPs, and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from reskd.cost.complexity import Complexity
from reskd.models.video_model import VideoModel, evaluating

aten = torch.ops.aten
LAYERS = (aten.convolution, aten._convolution, aten.mm, aten.addmm)
"""Products of activations with a layer's weights; attention's are of activations with each other, in batches (bmm)."""

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
    """Count one evaluation forward of ``num_frames`` frames of ``resolution`` pixels square, times ``num_views``.

    Nothing is computed: the forward runs on shapes alone (torch's meta device). The model keeps its parameters,
    its device and each module's mode.

    The published values are reproduced within 1 % by one multiply-accumulate as 1 and, per element, batch norm and
    layer norm as 2, ReLU as 1, pooling as 1 (of its input); biases, additions, resizes, softmax, GELU and attention
    products do not count.
    """
    elements = Elements()
    on_meta = {name: torch.empty_like(value, device="meta") for name, value in _tensors(model)}
    dtype = next(model.parameters()).dtype
    clip = torch.empty(1, num_frames, 3, resolution, resolution, dtype=dtype, device="meta")
    with evaluating(model), torch.no_grad(), _counting(model, elements), FlopCounterMode(display=False) as flops:
        functional_call(model, on_meta, (clip,))
    products: Mapping[object, int] = flops.get_flop_counts()["Global"]  # by operator, two per multiply-accumulate
    layers = sum(products.get(operator, 0) for operator in LAYERS) / 2
    return Complexity(
        gmacs=(layers + elements.count) * num_views / 1e9,
        gmacs_layers=layers * num_views / 1e9,
        gflops=sum(products.values()) * num_views / 1e9,
        num_params=sum(parameter.numel() for parameter in model.parameters()),
    )


def mean_complexity(
    model: VideoModel, *, resolution: int, clips_by_frames: Mapping[int, float], num_views: int = 1
) -> Complexity:
    """The mean cost of clips of which some stopped early; ``clips_by_frames``: frames of a view -> number of clips.

    A clip that stopped after t frames costs what a forward of t frames does: the gates and classifiers of all exits
    that it came by too.
    """
    num_clips = sum(clips_by_frames.values())
    shares = [
        (complexity(model, resolution=resolution, num_frames=num_frames, num_views=num_views), clips / num_clips)
        for num_frames, clips in clips_by_frames.items()
    ]
    costs = ("gmacs", "gmacs_layers", "gflops")
    means = {name: sum(getattr(cost, name) * share for cost, share in shares) for name in costs}
    return replace(shares[0][0], **means)


@dataclass(slots=True)
class Elements:
    """Element-wise operations so far."""

    count: int = 0


@contextmanager
def _counting(model: nn.Module, elements: Elements) -> Iterator[None]:
    """Add each element-wise layer's cost whenever it runs."""
    handles = [module.register_forward_hook(_hook(elements)) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(elements: Elements) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, NORMS):
            elements.count += 2 * output.numel()
        elif isinstance(module, RELUS):
            elements.count += output.numel()
        elif isinstance(module, POOLS):
            elements.count += inputs[0].numel()

    return count


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
