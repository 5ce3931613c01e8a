"""One group's clips as every model sees them: each resolution made once from the same pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from reskd.data.transforms import normalise, view
from reskd.recipe import ModelSpec


class Views:
    """One group's clips on the device, normalised once, at each resolution that is asked for; made once each."""

    def __init__(self, clips: Tensor, *, device: torch.device, dtype: torch.dtype) -> None:
        self._full = normalise(clips.to(device, non_blocking=True), dtype=dtype)
        self._made: dict[tuple[int, bool, int | None], Tensor] = {}

    def of(self, spec: ModelSpec) -> Tensor:
        """(B, T, 3, r, r) for a model's resolution r, or what that is enlarged to."""
        key = (spec.resolution, spec.antialias, spec.enlarge_to)
        if key not in self._made:
            self._made[key] = view(
                self._full, resolution=spec.resolution, antialias=spec.antialias, enlarge_to=spec.enlarge_to
            )
        return self._made[key]
