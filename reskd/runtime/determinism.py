"""Sets whether a GPU computes deterministically, or may choose kernels by autotuning and add in any order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.utils.deterministic

CUBLAS_VARIABLE, CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""Setting that cuBLAS needs to be deterministic. It is read when a process first uses a GPU."""


@contextmanager
def deterministic(device: torch.device, *, on: bool) -> Iterator[None]:
    """On a GPU: use deterministic kernels without autotuning (``on``), or the opposite. Old settings are restored.

    A CPU needs no setting. A kernel without a deterministic version runs anyway, with a warning that names it.
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
    memory.fill_uninitialized_memory = False  # no code here reads uninitialised memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warns)
        cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory = before
