"""The roofline of a network: the sum over operators of max(FLOP / peak, bytes / bandwidth).

The rule: activations and weights have 2 bytes. Batch norm is folded. ReLU, pooling and residual additions are fused
into the convolution before them; an addition still reads its other operand. No map stays in a cache between two
operators. Williams, Waterman and Patterson, "Roofline", CACM 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reskd.cost.gpu_peaks import DevicePeaks
from reskd.cost.trace import Kernel, evaluation_kernels, num_elements
from reskd.models.video_model import VideoModel

aten = torch.ops.aten
BYTES = 2
"""Bytes of one number of bfloat16."""
PRODUCTS = (aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm)
ADDITIONS = (aten.add, aten.add_)
NUM_FRAMES = 1024
"""Number of frames in the batch: 64 clips of 16. Weights are read once per batch."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a forward, for the whole batch."""

    name: str
    flops: float
    num_bytes: float


def operators(model: VideoModel, *, resolution: int, num_frames: int, batch_size: int) -> tuple[Operator, ...]:
    """The operators of an evaluation forward that are not fused away, from shapes only.

    The input is (batch_size, num_frames, 3, r, r).
    """
    kernels = evaluation_kernels(model, resolution=resolution, num_frames=num_frames, batch_size=batch_size)
    return tuple(found for kernel in kernels if (found := _operator(kernel)))


def _operator(kernel: Kernel) -> Operator | None:
    """A kernel with the bytes that it moves by the rule; None if it is fused away."""
    name, inputs = str(kernel.packet), kernel.inputs
    if kernel.packet in PRODUCTS:
        return Operator(name, float(kernel.flops), float(BYTES * num_elements(*inputs, *kernel.outputs)))
    if kernel.packet in ADDITIONS and len(inputs) == 2 and inputs[0] == inputs[1]:
        return Operator(name, 0.0, float(BYTES * num_elements(inputs[1])))
    return None


def roofline_clips_per_s(model: VideoModel, peaks: DevicePeaks, *, resolution: int, num_frames: int) -> float:
    """Upper bound on the clips per second of any program on the device, in batches of 1,024 frames."""
    batch_size = max(1, NUM_FRAMES // num_frames)
    found = operators(model, resolution=resolution, num_frames=num_frames, batch_size=batch_size)
    seconds = sum(max(one.flops / peaks.flops_per_s, one.num_bytes / peaks.bytes_per_s) for one in found)
    return batch_size / seconds
