"""Memory layout of a network in training: channels last if it is faster, and gradients in one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def in_fast_memory_format(model: Network) -> Network:
    """Convert the weights of a 2-D network to channels last, in place, so that its convolutions use this layout.

    Values, shapes and names do not change; results change by rounding only. A network with 3-D convolutions is
    unchanged.
    """
    if any(isinstance(module, nn.Conv3d) for module in model.modules()):
        return model
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub knows no such keyword


def vector_views(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a vector into views with the shapes and memory layouts of these tensors, one after another."""
    pieces = vector.split([tensor.numel() for tensor in like])
    return [
        # A fused optimiser reads memory in order, so gradient and parameter must have the same layout.
        piece.as_strided(tensor.shape, tensor.stride()) if _fills_its_memory(tensor) else piece.view_as(tensor)
        for piece, tensor in zip(pieces, like, strict=True)
    ]


def flatten_buffers(modules: Sequence[nn.Module], *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make the modules' buffers views of two vectors, so that one operation changes them all.

    Returns the vector of the floating-point buffers, in ``dtype``, and that of the integer ones (int64), each in the
    order of modules and their buffers.
    """
    vectors = []
    for kind in (dtype, torch.int64):
        held = [
            (module, name, buffer)
            for module in modules
            for name, buffer in module.named_buffers(recurse=False)
            if buffer.is_floating_point() == kind.is_floating_point
        ]
        buffers = [buffer for _, _, buffer in held]
        vector = torch.zeros(sum(buffer.numel() for buffer in buffers), dtype=kind, device=device)
        for (module, name, buffer), view in zip(held, vector_views(vector, buffers), strict=True):
            view.copy_(buffer)
            setattr(module, name, view)
        vectors.append(vector)
    return vectors[0], vectors[1]


def _fills_its_memory(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
