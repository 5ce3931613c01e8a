"""The record of a network's cost, which `reskd.cost.gmacs` computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Complexity:
    """Cost of classifying one video, over all frames of all views."""

    gmacs: float
    """1e9 multiply-accumulates and element-wise operations: the number that the paper prints as "GFLOPs"."""
    gmacs_layers: float
    """1e9 multiply-accumulates of convolutions and linear layers only."""
    gflops: float
    """1e9 floating-point operations of all matrix products, also in attention; two per multiply-accumulate."""
    num_params: int

    @property
    def gmacs_with_attention(self) -> float:
        """`gmacs` plus the multiply-accumulates of attention's products, which the paper leaves out."""
        return self.gmacs + self.gflops / 2 - self.gmacs_layers
