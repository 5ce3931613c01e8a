"""Ways to run a network's evaluation forward ("paths"), from the plain one to the fastest on a device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from reskd.models.fold_batch_norm import fold_batch_norm
from reskd.models.video_model import VideoModel

Engine = Literal["eager", "graph", "compile"]

FREEZING = "freezing"
"""A compile mode in addition to torch's: weights become constants in the memory layout that suits the processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardPath:
    """How a network is prepared and run."""

    name: str
    is_tuned: bool
    """True: folded batch norm, channels_last, and bfloat16 if it is fast here. False: float32 without TF32, NCHW."""
    engine: Engine
    """eager: one kernel after another. graph: the same kernels as one CUDA graph. compile: torch.compile."""


PATHS = {
    path.name: path
    for path in (
        ForwardPath(name="fp32", is_tuned=False, engine="eager"),
        ForwardPath(name="tuned-eager", is_tuned=True, engine="eager"),
        ForwardPath(name="tuned-graph", is_tuned=True, engine="graph"),
        ForwardPath(name="tuned", is_tuned=True, engine="compile"),
    )
}


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the hardware has instructions for its products, else float32."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        cpuinfo = Path("/proc/cpuinfo")
        flags = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.is_file() else set()
        has_bf16 = bool(flags & {"amx_bf16", "avx512_bf16"})
    return torch.bfloat16 if has_bf16 else torch.float32


@dataclass(frozen=True, slots=True)
class ReadyNetwork:
    """A copy of a network on the device, prepared for a path."""

    model: VideoModel
    path: ForwardPath
    device: torch.device
    dtype: torch.dtype

    def clips(self, *, batch_size: int, num_frames: int, resolution: int) -> Tensor:
        """Random clips (batch_size, num_frames, 3, r, r) in this path's type and memory format."""
        generator = torch.Generator(self.device).manual_seed(0)
        shape = (batch_size * num_frames, 3, resolution, resolution)
        frames = torch.randn(shape, generator=generator, device=self.device).to(self.dtype)
        if self.path.is_tuned:
            frames = frames.contiguous(memory_format=torch.channels_last)
        return frames.unflatten(0, (batch_size, num_frames))

    def logits(self, clips: Tensor) -> Tensor:
        """One eager forward: (B, T, 3, r, r) -> clip logits (B, K)."""
        logits: Tensor = self.model(clips).clip_logits
        return logits


def make_ready(
    model: VideoModel, path: ForwardPath, *, device: torch.device, dtype: torch.dtype | None = None
) -> ReadyNetwork:
    """Prepare a network. ``dtype``: type of tuned paths; None: `fast_dtype`.

    Raises TypeError if batch norm cannot be folded.
    """
    if not path.is_tuned:
        return ReadyNetwork(copy.deepcopy(model).eval().to(device), path, device, torch.float32)
    dtype = dtype or fast_dtype(device)
    folded = fold_batch_norm(model).to(device=device, dtype=dtype).to(memory_format=torch.channels_last)
    return ReadyNetwork(folded, path, device, dtype)


class EngineRefusal(Exception):
    """An engine does not work here. The message says why, on one line."""


def start_engine(network: ReadyNetwork, engine: Engine, clips: Tensor, *, compile_mode: str) -> Callable[[], Tensor]:
    """A function that runs one forward of exactly these clips. Call both under inference_mode.

    Raises EngineRefusal if the device or the installation does not have the engine.
    """
    if engine == "eager":
        return lambda: network.logits(clips)
    if engine == "graph":
        return _captured(network, clips)
    return _compiled(network, clips, mode=compile_mode)


def _captured(network: ReadyNetwork, clips: Tensor) -> Callable[[], Tensor]:
    """The forward's kernels as one CUDA graph, which needs no launch of single kernels."""
    if network.device.type != "cuda":
        raise EngineRefusal("CUDA graphs need a CUDA device")
    side = torch.cuda.Stream(network.device)
    side.wait_stream(torch.cuda.current_stream(network.device))
    with torch.cuda.stream(side):  # libraries set themselves up, and choose algorithms, outside the recording
        for _ in range(3):
            network.logits(clips)
    torch.cuda.current_stream(network.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = network.logits(clips)

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay


def _compiled(network: ReadyNetwork, clips: Tensor, *, mode: str) -> Callable[[], Tensor]:
    torch._dynamo.reset()  # each resolution and batch size is a program of its own
    how: dict[str, Any] = {"options": {"freezing": True}} if mode == FREEZING else {"mode": mode}
    try:
        forward: Any = torch.compile(network.logits, dynamic=False, fullgraph=True, **how)
        forward(clips)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a missing compiler, driver or operator: their types have nothing in common
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise EngineRefusal(f"torch.compile: {type(error).__name__}: {lines[0][:300]}") from error
    return lambda: forward(clips)
