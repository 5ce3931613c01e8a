"""What a trace of a network is. It needs no torch, so that a plan can read it from a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["product", "norm", "relu", "add", "other"]
"""product: convolution, linear, attention; norm: batch norm; add: a residual; other: every other kernel."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One kernel in the forward of one clip."""

    kind: Kind
    flops: float
    """Two per multiply-accumulate; 0 for kernels other than products."""
    inputs: int
    """Number of activations that it reads."""
    outputs: int
    weights: int
    """Number of parameters that it reads, once per pass for any number of clips."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The kernels of a network for one clip of one size."""

    layers: tuple[Layer, ...]
    num_params: int
    saved: int
    """Number of elements that autograd keeps from the forward for the backward, without parameters."""
    features: int
    """Number of elements of the last map and the logits, which a teacher passes to its students."""

    @property
    def flops(self) -> float:
        """Operations of the forward of one clip; two per multiply-accumulate."""
        return sum(layer.flops for layer in self.layers)
