"""Makes 2-D networks 3-D, with their weights: a filter over time is the 2-D filter, repeated and divided.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, section 2.4. For a video without motion, the
inflated network computes the same as the 2-D one, except near the first and last frames, where zeros are padded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn


def inflate(network: nn.Module, *, over_time: Collection[str]) -> None:
    """Replace each 2-D convolution, batch norm and max pooling in ``network`` by a newly initialised 3-D one.

    The stride in time is 1. Convolutions named in ``over_time`` look at 3 frames, with one frame of zeros padded at
    each end; all other layers look at one frame. The names of tensors do not change.
    """
    for name, module in list(network.named_modules()):
        made: nn.Module
        if isinstance(module, nn.Conv2d):
            made = _conv(module, num_frames=3 if name in over_time else 1)
        elif isinstance(module, nn.BatchNorm2d):
            made = nn.BatchNorm3d(module.num_features, eps=module.eps, momentum=module.momentum)
        elif isinstance(module, nn.MaxPool2d):
            kernel, padding = _cube(1, module.kernel_size), _cube(0, module.padding)
            made = nn.MaxPool3d(kernel, _cube(1, module.stride), padding)
        else:
            continue
        network.set_submodule(name, made)


def _conv(flat: nn.Conv2d, *, num_frames: int) -> nn.Conv3d:
    assert not isinstance(flat.padding, str), "torchvision gives numbers"
    conv = nn.Conv3d(
        flat.in_channels,
        flat.out_channels,
        kernel_size=_cube(num_frames, flat.kernel_size),
        stride=_cube(1, flat.stride),
        padding=_cube(num_frames // 2, flat.padding),
        groups=flat.groups,
        bias=flat.bias is not None,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision draws a ResNet's
    return conv


def _cube(time: int, square: int | tuple[int, ...]) -> tuple[int, int, int]:
    height, width = square if isinstance(square, tuple) else (square, square)
    return time, height, width


def inflated_state(state: Mapping[str, Any], *, like: Mapping[str, Tensor]) -> dict[str, Any]:
    """``state`` with each 2-D filter extended in time to the length of the filter with the same name in ``like``.

    (O, I, h, w) becomes (O, I, t, h, w), with 1/t of the filter in every frame. Tensors that do not match are
    unchanged.
    """
    return {key: _inflated(value, like=like[key]) if key in like else value for key, value in state.items()}


def _inflated(value: Any, *, like: Tensor) -> Any:
    if not isinstance(value, Tensor) or value.ndim != 4 or like.ndim != 5:
        return value
    num_frames = like.shape[2]
    return value[:, :, None].expand(-1, -1, num_frames, -1, -1) / num_frames
