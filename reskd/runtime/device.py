"""Chooses the device of a command, and names it."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from reskd.errors import BadInput


def device_name(device: torch.device) -> str:
    """The hardware's own name, such as `NVIDIA H100 80GB HBM3`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():  # Linux; platform.processor() is often empty there
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def chosen_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:1`. A GPU becomes torch's current device.

    Raises BadInput if there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"--device: {name!r} is no device of torch's; say cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f"--device: {name!r}; reskd computes on cpu and cuda")
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise BadInput(f"--device: torch {torch.__version__} sees no {name} here; say cpu")
        torch.cuda.set_device(device)
    return device
