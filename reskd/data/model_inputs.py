"""The input of every model for one group of clips. Each resolution is computed once from the same pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from reskd.data.transforms import model_input, normalise
from reskd.normalisation import IMAGENET, Normalisation
from reskd.recipe import ModelSpec


class ModelInputs:
    """One group's clips on the device. Each requested normalisation and resolution is computed once and kept."""

    def __init__(self, clips: Tensor, *, device: torch.device, dtype: torch.dtype) -> None:
        self._pixels = clips.to(device, non_blocking=True)
        self._dtype = dtype
        self._full: dict[Normalisation, Tensor] = {}
        self._made: dict[tuple[Normalisation, int, bool, int | None], Tensor] = {}

    def of(self, spec: ModelSpec, by: Normalisation = IMAGENET) -> Tensor:
        """The model's input (B, T, 3, r, r). r is `enlarge_to` if the model sets it, else its resolution.

        by: the model's normalisation.
        """
        if by not in self._full:
            self._full[by] = normalise(self._pixels, dtype=self._dtype, by=by)
        key = (by, spec.resolution, spec.antialias, spec.enlarge_to)
        if key not in self._made:
            self._made[key] = model_input(
                self._full[by], resolution=spec.resolution, antialias=spec.antialias, enlarge_to=spec.enlarge_to
            )
        return self._made[key]
