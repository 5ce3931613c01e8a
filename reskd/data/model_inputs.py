"""The input of every model for one group of clips. Each resolution is computed once from the same pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from reskd.data.transforms import model_input, normalise
from reskd.recipe import ModelSpec


class ModelInputs:
    """One group's clips on the device, normalised once. Each requested resolution is computed once and kept."""

    def __init__(self, clips: Tensor, *, device: torch.device, dtype: torch.dtype) -> None:
        self._full = normalise(clips.to(device, non_blocking=True), dtype=dtype)
        self._made: dict[tuple[int, bool, int | None], Tensor] = {}

    def of(self, spec: ModelSpec) -> Tensor:
        """The model's input (B, T, 3, r, r). r is `enlarge_to` if the model sets it, else its resolution."""
        key = (spec.resolution, spec.antialias, spec.enlarge_to)
        if key not in self._made:
            self._made[key] = model_input(
                self._full, resolution=spec.resolution, antialias=spec.antialias, enlarge_to=spec.enlarge_to
            )
        return self._made[key]
