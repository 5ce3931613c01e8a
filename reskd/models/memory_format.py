"""How the tensors of a network in training lie in memory: channels last where it is faster, gradients in one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def in_fast_memory_format(model: Network) -> Network:
    """The same network, its weights channels last, in place: 2-D convolutions then compute in that layout throughout.

    Values, shapes and names stay; what is computed stays to rounding. A network of 3-D convolutions is left alone.
    """
    if any(isinstance(module, nn.Conv3d) for module in model.modules()):
        return model
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub knows no such keyword


def vector_views(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A vector cut into views of these tensors' shapes, one after another, each in its tensor's layout."""
    pieces = vector.split([tensor.numel() for tensor in like])
    return [
        # A fused optimiser walks through memory, and must meet a gradient's elements as it meets the parameter's.
        piece.as_strided(tensor.shape, tensor.stride()) if _fills_its_memory(tensor) else piece.view_as(tensor)
        for piece, tensor in zip(pieces, like, strict=True)
    ]


def _fills_its_memory(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
