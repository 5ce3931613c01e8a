"""What a training computes in: parameter types, autocast, TF32, and the loss scale of float16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from reskd.recipe import Precision, Recipe

AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}

FIRST_SCALE = 2.0**16
GROWTH = 2.0
BACKOFF = 0.5
GROWTH_INTERVAL = 2000
MAX_OVERFLOWS = 20


def dtype_of(recipe: Recipe) -> torch.dtype:
    """Of parameters, gradients and losses; autocast narrows what a network computes in, never these."""
    return torch.float64 if recipe.precision == "fp64" else torch.float32


def autocast_dtype(recipe: Recipe) -> torch.dtype | None:
    """What autocast narrows to, or None where there is none."""
    return AUTOCAST.get(recipe.precision)


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast to ``dtype``; off, whatever is on outside, for None."""
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products may use TF32 on a GPU; afterwards as before. A CPU has none.

    Off for every precision but tf32: fp32 would otherwise mean something else on a GPU than on a CPU.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@dataclass
class LossScaler:
    """The factor on a member's loss that keeps float16 gradients from vanishing; torch's GradScaler in plain numbers.

    Not that class: it looks at each worker's own gradients. Here the answer comes from the reduced vector, so
    that all workers agree without another collective. The scale is a power of two: undoing it is exact.
    """

    scale: float = FIRST_SCALE
    num_good: int = 0
    """Steps taken since the scale last changed."""
    num_overflows: int = 0
    """Steps skipped in a row."""

    def took(self) -> None:
        """A step was taken; after 2000 in a row the scale doubles."""
        self.num_overflows = 0
        self.num_good += 1
        if self.num_good == GROWTH_INTERVAL:
            self.scale *= GROWTH
            self.num_good = 0

    def overflowed(self) -> None:
        """A step was skipped; the scale halves."""
        self.num_overflows += 1
        self.scale *= BACKOFF
        self.num_good = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether so many steps in a row were skipped that the scale is not to blame."""
        return self.num_overflows >= MAX_OVERFLOWS

    def state(self) -> dict[str, Any]:
        return asdict(self)

    def load_state(self, state: dict[str, Any]) -> None:
        self.scale, self.num_good, self.num_overflows = state["scale"], state["num_good"], state["num_overflows"]
