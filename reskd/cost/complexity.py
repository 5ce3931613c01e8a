"""A network's cost as a record: what `reskd.cost.gmacs` counts and everything else reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Complexity:
    """Cost of classifying one video: every frame of every view."""

    gmacs: float
    """1e9 multiply-accumulates and element-wise operations: what the paper prints as "GFLOPs"."""
    gmacs_layers: float
    """1e9 multiply-accumulates of convolutions and linear layers alone."""
    gflops: float
    """1e9 floating-point operations of every matrix product, attention too, two per multiply-accumulate."""
    num_params: int

    @property
    def gmacs_with_attention(self) -> float:
        """`gmacs` and the multiply-accumulates of attention's products, which the paper leaves out."""
        return self.gmacs + self.gflops / 2 - self.gmacs_layers
