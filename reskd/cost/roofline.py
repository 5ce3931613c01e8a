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

from reskd.models.video_model import VideoModel, evaluating

aten = torch.ops.aten
BYTES = 2
"""Of one number of bfloat16."""
NUM_FRAMES = 1024
"""Of the batch: 64 clips of 16 frames. Weights are read once a batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceProfile:
    """Peaks that the best public programs come near to, not those of the data sheet."""

    name: str
    flops_per_s: float
    """Of dense bf16 products, 2 FLOPs a multiply-accumulate."""
    bytes_per_s: float
    """To and from the device's memory."""


PROFILES = {
    "h200": DeviceProfile(name="h200", flops_per_s=790e12, bytes_per_s=4.3e12),
    "h100": DeviceProfile(name="h100", flops_per_s=790e12, bytes_per_s=3.0e12),
    "a100": DeviceProfile(name="a100", flops_per_s=280e12, bytes_per_s=1.75e12),
}
"""H200: 790 T of 989 T and 4.3 T of 4.8 TB/s, which MLPerf's results imply (1,580 TOPS INT8). A100 with 80 GB:
280 T of 312 T, 1.75 T of 2.04 TB/s. H100 SXM has the H200's cores; 3.0 T of 3.35 TB/s is the H200's share (0.9) of its
own data sheet."""
OTHERS = ("PCIE", "NVL", "40GB", "MIG")
"""In the name of a card with other peaks than these."""


def profile_of(device_name: str) -> DeviceProfile | None:
    """The profile for what a device calls itself (`NVIDIA H200`); None where none is known."""
    name = device_name.upper()
    if any(word in name for word in OTHERS):
        return None
    return next((profile for key, profile in PROFILES.items() if key.upper() in name), None)


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


def roofline_clips_per_s(model: VideoModel, profile: DeviceProfile, *, resolution: int, num_frames: int) -> float:
    """Clips a second that no program on the device exceeds by this rule, in batches of 1,024 frames."""
    batch_size = max(1, NUM_FRAMES // num_frames)
    found = operators(model, resolution=resolution, num_frames=num_frames, batch_size=batch_size)
    seconds = sum(max(one.flops / profile.flops_per_s, one.num_bytes / profile.bytes_per_s) for one in found)
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
