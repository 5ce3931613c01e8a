"""The numeric precision of a training: parameter type, autocast, TF32, and loss scaling for float16."""

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
    """The type of parameters, gradients and losses. Autocast does not change it."""
    return torch.float64 if recipe.precision == "fp64" else torch.float32


def autocast_dtype(recipe: Recipe) -> torch.dtype | None:
    """The type that autocast uses, or None without autocast."""
    return AUTOCAST.get(recipe.precision)


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast to ``dtype``. None turns autocast off, also inside an outer autocast."""
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Set whether float32 products may use TF32 on a GPU. The old setting is restored. A CPU has no TF32.

    Only precision tf32 allows it: otherwise fp32 would differ between GPU and CPU.
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
    """Dynamic loss scale that keeps float16 gradients from vanishing. It follows the rules of torch's GradScaler.

    GradScaler itself checks each worker's own gradients. Here the all-reduced gradients are checked, so all workers
    agree without another collective call. The scale is a power of two, so removing it is exact.
    """

    scale: float = FIRST_SCALE
    num_good: int = 0
    """Steps taken since the last change of the scale."""
    num_overflows: int = 0
    """Consecutive skipped steps."""

    def took(self) -> None:
        """Record a taken step. After 2000 in a row the scale doubles."""
        self.num_overflows = 0
        self.num_good += 1
        if self.num_good == GROWTH_INTERVAL:
            self.scale *= GROWTH
            self.num_good = 0

    def overflowed(self) -> None:
        """Record a skipped step. The scale halves."""
        self.num_overflows += 1
        self.scale *= BACKOFF
        self.num_good = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether so many consecutive steps overflowed that a smaller scale cannot help."""
        return self.num_overflows >= MAX_OVERFLOWS

    def state(self) -> dict[str, Any]:
        return asdict(self)

    def load_state(self, state: dict[str, Any]) -> None:
        self.scale, self.num_good, self.num_overflows = state["scale"], state["num_good"], state["num_overflows"]
