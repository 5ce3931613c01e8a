"""Whether a GPU gives the same bits for the same numbers, or may choose kernels by trial and add in any order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.utils.deterministic

CUBLAS_VARIABLE, CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""What cuBLAS needs for it, read when a process first uses a GPU."""


@contextmanager
def deterministic(device: torch.device, *, on: bool) -> Iterator[None]:
    """On a GPU deterministic kernels and no autotuning, or the opposite; afterwards as before. A CPU needs neither.

    A kernel without a deterministic form warns with its name and runs as it is.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(CUBLAS_VARIABLE, CUBLAS_WORKSPACE)
    cudnn, memory = torch.backends.cudnn, cast(Any, torch.utils.deterministic)  # its attribute is unknown to mypy
    before = cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory
    mode, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(on, warn_only=True)
    cudnn.deterministic, cudnn.benchmark = on, not on
    memory.fill_uninitialized_memory = False  # which nothing here reads
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warns)
        cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory = before
