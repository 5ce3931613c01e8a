"""What a device's peaks allow a network at best: the sum over operators of max(FLOP / peak, bytes / bandwidth).

The rule: 2-byte activations and weights, batch norm folded, ReLU, pooling and residual additions fused into the
convolution before them (an addition still reads its other operand); no map stays in a cache from one operator to the
next. Williams, Waterman and Patterson, "Roofline", CACM 2009.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from reskd.cost.gpu_peaks import DevicePeaks
from reskd.models.video_model import VideoModel, evaluating

aten = torch.ops.aten
BYTES = 2
"""Bytes of one number of bfloat16."""
NUM_FRAMES = 1024
"""Frames of the batch: 64 clips of 16. Weights are read once a batch."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a forward, for the whole batch."""

    name: str
    flops: float
    num_bytes: float


def operators(model: VideoModel, *, resolution: int, num_frames: int, batch_size: int) -> tuple[Operator, ...]:
    """What an evaluation forward of (batch_size, num_frames, 3, r, r) runs that is not fused away; on shapes alone."""
    on_meta = {name: torch.empty_like(value, device="meta") for name, value in model.state_dict().items()}
    dtype = next(model.parameters()).dtype
    clips = torch.empty(batch_size, num_frames, 3, resolution, resolution, dtype=dtype, device="meta")
    with evaluating(model), torch.no_grad(), _Recorder() as recorder:
        functional_call(model, on_meta, (clips,))
    return tuple(recorder.found)


def roofline_clips_per_s(model: VideoModel, peaks: DevicePeaks, *, resolution: int, num_frames: int) -> float:
    """Clips a second that no program on the device exceeds by this rule, in batches of 1,024 frames."""
    batch_size = max(1, NUM_FRAMES // num_frames)
    found = operators(model, resolution=resolution, num_frames=num_frames, batch_size=batch_size)
    seconds = sum(max(one.flops / peaks.flops_per_s, one.num_bytes / peaks.bytes_per_s) for one in found)
    return batch_size / seconds


class _Recorder(TorchDispatchMode):
    """Every operator that moves bytes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Operator] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        tensors = [value for value in args if isinstance(value, Tensor)]
        if packet in PRODUCTS:
            count: Callable[..., int] = flop_registry[packet]
            flops = float(count(*args, **(kwargs or {}), out_val=out))
            self._add(packet, flops, sum(each.numel() for each in tensors) + out.numel())
        elif packet in ADDITIONS and len(tensors) == 2 and tensors[0].shape == tensors[1].shape:
            self._add(packet, 0.0, tensors[1].numel())
        return out

    def _add(self, packet: Any, flops: float, numbers: int) -> None:
        self.found.append(Operator(str(packet), flops, float(BYTES * numbers)))


PRODUCTS = (aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm)
ADDITIONS = (aten.add, aten.add_)
