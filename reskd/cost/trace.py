"""Records the kernels of a forward from shapes only (torch's meta device). All cost counts use it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from reskd.models.video_model import VideoModel, evaluating

aten = torch.ops.aten

Shape = tuple[int, ...]

FREE = {
    aten.empty,
    aten.empty_like,
    aten.new_empty,
    aten.detach,
    aten.scalar_tensor,
    aten._unsafe_view,
    aten.lift_fresh,
}
"""Operators other than views that start no kernel."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One call of a torch operator."""

    packet: Any
    """The operator without its overload, such as `torch.ops.aten.mm`."""
    inputs: tuple[Shape, ...]
    """Shapes of its tensor arguments in order; () for numbers that are tensors."""
    outputs: tuple[Shape, ...]
    module: type[nn.Module]
    """Class of the innermost module that called it."""
    flops: int
    """Two per multiply-accumulate of a product (convolution, linear, attention); 0 for other operators."""
    strides: Shape
    """Strides of a convolution along each axis; () for other operators."""


class Recorder(TorchDispatchMode):
    """Records every kernel that ``model`` starts inside the context."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []
        self._model = model
        self._inside: list[type[nn.Module]] = []
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Recorder:
        for module in self._model.modules():
            self._hooks.append(module.register_forward_pre_hook(lambda inner, _: self._inside.append(type(inner))))
            self._hooks.append(module.register_forward_hook(lambda *_: self._leave()))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def _leave(self) -> None:
        self._inside.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet, named = func.overloadpacket, kwargs or {}
        output = _normed(args[0]) if packet is aten.native_batch_norm else func(*args, **named)
        if not func.is_view and packet not in FREE:
            kernel = Kernel(
                packet=packet,
                inputs=_shapes(args),
                outputs=_shapes(output),
                module=self._inside[-1] if self._inside else type(self._model),
                flops=flop_registry[packet](*args, **named, out_val=output) if packet in flop_registry else 0,
                strides=tuple(args[3]) if packet is aten.convolution else (),
            )
            self.kernels.append(kernel)
        return output


def evaluation_kernels(
    model: VideoModel, *, resolution: int, num_frames: int, batch_size: int = 1
) -> tuple[Kernel, ...]:
    """The kernels of an evaluation forward of (batch_size, num_frames, 3, r, r).

    The model keeps its parameters, its device and each module's mode.
    """
    # Leave inference mode, in which torch does not split composite operators (conv2d, linear).
    with torch.inference_mode(False), torch.no_grad():
        tensors = (*model.named_parameters(), *model.named_buffers())
        on_meta = {name: torch.empty_like(value, device="meta") for name, value in tensors}
        dtype = next(model.parameters()).dtype
        clips = torch.empty(batch_size, num_frames, 3, resolution, resolution, dtype=dtype, device="meta")
        with evaluating(model), Recorder(model) as recorder:
            functional_call(model, on_meta, (clips,))
    return tuple(recorder.kernels)


def num_elements(*shapes: Shape) -> int:
    """Total number of elements of tensors with these shapes."""
    return sum(math.prod(shape) for shape in shapes)


def _normed(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm's three outputs on the meta device. torch's own way takes longer than the rest of a network
    together."""
    by_channel = inputs.new_empty(inputs.shape[1])
    return torch.empty_like(inputs), by_channel, torch.empty_like(by_channel)


def _shapes(values: Any) -> tuple[Shape, ...]:
    if isinstance(values, Tensor):
        return (tuple(values.shape),)
    if isinstance(values, tuple | list):
        return tuple(shape for value in values for shape in _shapes(value))
    return ()
