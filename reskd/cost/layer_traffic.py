"""The operations and the memory traffic of each kernel of a network, from one forward on shapes (torch's meta
device)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from reskd.cost.layers import Kind, Layer, Trace
from reskd.cost.trace import Kernel, Recorder, num_elements
from reskd.models.catalogue import build_model
from reskd.recipe import ModelSpec

aten = torch.ops.aten

NORMS = {aten.native_batch_norm, aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training}
NORMS |= {aten.cudnn_batch_norm, aten.miopen_batch_norm, aten._batch_norm_with_update}
RELUS = {aten.relu, aten.relu_, aten.hardtanh, aten.hardtanh_}
ADDS = {aten.add, aten.add_}
NUM_CLASSES = 200
"""Number of classes of every traced network. The classifier is far below 0.1 % of any network's cost."""


def trace(spec: ModelSpec, *, num_frames: int) -> Trace:
    """Trace the network of ``spec`` for one clip of ``num_frames`` frames. The result is cached.

    Raises BadInput if there is no such network.
    """
    return _trace(spec.name, spec.stride, spec.input_size, num_frames)


@cache
def _trace(name: str, stride: int | None, input_size: int, num_frames: int) -> Trace:
    spec = ModelSpec(name=name, stride=stride, resolution=input_size, dropout=0.5)
    with torch.device("meta"):
        model = build_model(spec, num_classes=NUM_CLASSES, num_frames=num_frames).train()
        clip = torch.empty(1, num_frames, 3, input_size, input_size)
    saved = _Saved(ignored={_storage(parameter) for parameter in model.parameters()})
    with Recorder(model) as recorder, torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept):
        output = model(clip)
    return Trace(
        layers=tuple(_layer(kernel) for kernel in recorder.kernels),
        num_params=sum(parameter.numel() for parameter in model.parameters()),
        saved=saved.elements,
        features=sum(part.numel() for part in output),
    )


def _layer(kernel: Kernel) -> Layer:
    packet, kind = kernel.packet, _kind(kernel)
    read = [shape for shape in kernel.inputs if shape]
    weights, outputs = 0, kernel.outputs
    if kind in ("product", "norm") or packet is aten.native_layer_norm:
        # Parameters and tensors made from them have no batch axis. Attention's products (bmm) have no parameters.
        first = 1 if packet is aten.addmm else 0
        is_weighted = packet not in (aten.bmm, aten.baddbmm)
        weights = num_elements(*read[:first], *read[first + 1 :]) if is_weighted else 0
    inputs = num_elements(*read) - weights
    if packet is aten.convolution:
        inputs = round(inputs * _share_read(read[1][2:], strides=kernel.strides))
    if kind == "norm":
        outputs = outputs[:1]  # the rest are one number a channel
    return Layer(kind, float(kernel.flops), inputs, num_elements(*outputs), weights)


def _share_read(kernel: Sequence[int], *, strides: Sequence[int]) -> float:
    """Share of its input that a convolution reads. A kernel smaller than its stride skips pixels."""
    return math.prod(min(1.0, side / stride) for side, stride in zip(kernel, strides, strict=True))


def _kind(kernel: Kernel) -> Kind:
    if kernel.packet in flop_registry:
        return "product"
    named: dict[Kind, set[Any]] = {"norm": NORMS, "relu": RELUS, "add": ADDS}
    return next((kind for kind, packets in named.items() if kernel.packet in packets), "other")


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Saved:
    """Counts the elements of distinct tensors that autograd keeps. `kept` holds them, so that no address is used
    again."""

    def __init__(self, *, ignored: set[int]) -> None:
        self.elements = 0
        self._known = ignored
        self._kept: list[Tensor] = []

    def pack(self, tensor: Tensor) -> Tensor:
        where = _storage(tensor)
        if where not in self._known:
            self._known.add(where)
            self._kept.append(tensor)
            self.elements += tensor.untyped_storage().nbytes() // 4  # of float32; masks of bytes count a quarter
        return tensor
