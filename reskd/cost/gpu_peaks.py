"""Peak speeds of known GPUs, by the names that their driver reports. Rooflines and plans use them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePeaks:
    """Peaks that the best public programs nearly reach. They are lower than those in the data sheet."""

    name: str
    flops_per_s: float
    """Operations per second of dense bf16 or fp16 products; 2 per multiply-accumulate."""
    bytes_per_s: float
    """Bytes per second between the GPU and its memory."""


DEVICE_PEAKS = {
    "h200": DevicePeaks(name="h200", flops_per_s=790e12, bytes_per_s=4.3e12),
    "h100": DevicePeaks(name="h100", flops_per_s=790e12, bytes_per_s=3.0e12),
    "a100": DevicePeaks(name="a100", flops_per_s=280e12, bytes_per_s=1.75e12),
}
"""H200: 790 T of 989 T and 4.3 T of 4.8 TB/s, which MLPerf's results imply (1,580 TOPS INT8). A100 with 80 GB:
280 T of 312 T, 1.75 T of 2.04 TB/s. H100 SXM has the H200's cores; 3.0 T of 3.35 TB/s is the H200's share (0.9) of its
own data sheet."""
VARIANTS = frozenset({"PCIE", "NVL", "40GB", "MIG"})
"""Words in a card's name that mean other peaks than those of the card without the word."""


def is_named(part: str, device: str) -> bool:
    """Whether ``part`` occurs, as whole words, in the name that a device reports.

    If the device's name has a word of VARIANTS, ``part`` must have it too. So `H100` does not fit `NVIDIA H100 PCIe`,
    but `H100 PCIe` does.
    """
    asked, words = _words(part), _words(device)
    return f" {' '.join(asked)} " in f" {' '.join(words)} " and VARIANTS.isdisjoint(set(words) - set(asked))


def peaks_of(device: str) -> DevicePeaks | None:
    """The peaks of a device by the name that it reports (`NVIDIA H200`); None if they are not known."""
    return next((peaks for name, peaks in DEVICE_PEAKS.items() if is_named(name, device)), None)


def _words(name: str) -> list[str]:
    """Words of letters, digits and dots, in capitals: `A100-SXM4-80GB` gives A100, SXM4, 80GB."""
    return re.findall(r"[\w.]+", name.upper())
