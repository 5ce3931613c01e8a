"""Peak speeds of GPUs, by the names that their driver reports: calibrated ones, else those known of a kind of card.

Rooflines and plans use them. A calibrated profile is a file of the store, `devices/NAME.yaml`. `reskd bench calibrate`
writes it, and orchestrator/plan/device_profiles.py reads it in full.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from reskd.errors import BadInput
from reskd.files import files_ending


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePeaks:
    """Peaks that the best public programs nearly reach. They are lower than those in the data sheet."""

    name: str
    flops_per_s: float
    """Operations per second of dense bf16 or fp16 products; 2 per multiply-accumulate."""
    bytes_per_s: float
    """Bytes per second between the GPU and its memory."""
    source: str = "shipped, not measured here"


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


def peaks_of(device: str, *, profiles: Path | None = None) -> DevicePeaks | None:
    """The peaks of a device by the name that it reports (`NVIDIA H200`); None if they are not known.

    A calibrated profile in the folder ``profiles`` is used instead of a shipped one of that name. Raises BadInput for a
    file in that folder that is no profile.
    """
    own = [_calibrated(path) for path in files_ending(profiles, ".yaml")]
    found = next((peaks for peaks, parts in own if any(is_named(part, device) for part in parts)), None)
    shipped = DEVICE_PEAKS.keys() - {peaks.name for peaks, _ in own}
    return found or next((DEVICE_PEAKS[name] for name in shipped if is_named(name, device)), None)


def _calibrated(path: Path) -> tuple[DevicePeaks, list[str]]:
    """The peaks in a profile's file, and the parts of the names of its devices."""
    import yaml  # here, since without a profile a throughput is measured with torch and torchvision alone

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        peaks = DevicePeaks(
            name=path.stem,
            flops_per_s=float(content["flops"]["bf16"]),
            bytes_per_s=float(content["bytes_per_s"]),
            source=str(content.get("source", path)),
        )
        return peaks, [str(part) for part in content["matches"]]
    except (OSError, yaml.YAMLError, RecursionError, KeyError, TypeError, ValueError, AttributeError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(
            f"{path}: not a device profile ({why}); write it again with `reskd bench calibrate`, or remove it"
        ) from error


def _words(name: str) -> list[str]:
    """Words of letters, digits and dots, in capitals: `A100-SXM4-80GB` gives A100, SXM4, 80GB."""
    return re.findall(r"[\w.]+", name.upper())
