"""Device profiles: shipped in devices.yaml, or a file of the same fields in the store's folder `devices`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from orchestrator.spec.strict import check, naming
from orchestrator.spec.yaml_text import read_yaml
from reskd.cost.gpu_peaks import DEVICE_PEAKS, is_named
from reskd.errors import BadInput
from reskd.recipe import Precision

SHIPPED = Path(__file__).parent / "devices.yaml"

GPU_MAKERS = ("NVIDIA", "Tesla", "GeForce", "Radeon")

Mode = Literal["eval", "batch", "train"]
"""A forward with folded batch norm; one with the statistics of its group; forward, backward and optimiser."""
ClipKind = Literal["packed", "short", "long"]
"""Packed JPEG; videos of about 10 seconds; of about 2 minutes at 720p."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceProfile:
    """What one device can do; a profile of a cpu is about one core."""

    kind: Literal["cpu", "gpu"]
    matches: tuple[str, ...]
    """Whole words of the names that such a device gives itself; `reskd.cost.gpu_peaks.is_named` has the rule."""
    flops: dict[Precision, float]
    """Floating-point operations a second, by precision."""
    bytes_per_s: float
    efficiency: dict[Mode, float]
    """Share of the roofline that is reached."""
    launch_s: float
    """Seconds to start one kernel."""
    start_s: float
    """Seconds from a job's start to its first step."""
    memory_bytes: float | None
    """null: unknown, so nothing is refused for it."""
    decode_core_ms: dict[ClipKind, float]
    """Milliseconds of one core for a clip of 16 frames."""
    source: str = "shipped, not measured here"

    def is_of(self, device: str) -> bool:
        """Whether it is the profile of a device with this name; a cpu's without `matches` is of any processor."""
        if self.matches:
            return any(is_named(part, device) for part in self.matches)
        return self.kind == "cpu" and not any(maker in device for maker in GPU_MAKERS)

    def __post_init__(self) -> None:
        for name in ("bytes_per_s", "launch_s", "start_s"):
            if getattr(self, name) <= 0:
                raise BadInput(f"'{name}' must be positive, got {getattr(self, name)}")
        for name, values in (("flops", self.flops), ("efficiency", self.efficiency)):
            for key, value in values.items():
                if value <= 0:
                    raise BadInput(f"'{name}.{key}' must be positive, got {value}")


def load_profile(name: str, *, folder: Path | None = None) -> DeviceProfile:
    """The profile in ``folder`` (``<name>.yaml``) or the shipped one; BadInput where neither is."""
    measured = folder / f"{name}.yaml" if folder else None
    if measured is not None and measured.is_file():
        with naming(str(measured)):
            found: DeviceProfile = check(DeviceProfile, read_yaml(measured))
            return found
    shipped = shipped_profiles()
    if name not in shipped:
        own = sorted(path.stem for path in folder.glob("*.yaml")) if folder and folder.is_dir() else []
        known = ", ".join([*shipped, *(stem for stem in own if stem not in shipped)])
        raise BadInput(f"--device: {name!r} has no profile; choose {known}, or write one into <store>/devices")
    return shipped[name]


@cache
def shipped_profiles() -> dict[str, DeviceProfile]:
    """The profiles of devices.yaml by name, with the peaks and names of `reskd.cost.gpu_peaks` filled in."""
    with naming(str(SHIPPED)):
        written = read_yaml(SHIPPED)
        filled = {name: _with_peaks(name, fields) for name, fields in written.items()}
        profiles: dict[str, DeviceProfile] = check(dict[str, DeviceProfile], filled)
        return profiles


def _with_peaks(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A written profile with the known peaks of its device; TypeError for a field that is in both places."""
    if name not in DEVICE_PEAKS:
        return fields
    peaks = DEVICE_PEAKS[name]
    flops = dict(**fields["flops"], bf16=peaks.flops_per_s, fp16=peaks.flops_per_s)
    return dict(**{**fields, "flops": flops}, matches=[name.upper()], bytes_per_s=peaks.bytes_per_s)


def profile_name_of(device: str, *, folder: Path | None = None) -> str | None:
    """The profile of a device by the name that it gives itself, of those in ``folder``, then of the shipped ones that
    no file there replaces; `cpu` for what names no GPU maker.
    """
    own = sorted(folder.glob("*.yaml")) if folder and folder.is_dir() else []
    profiles = {path.stem: load_profile(path.stem, folder=folder) for path in own}
    for name, shipped in shipped_profiles().items():
        profiles.setdefault(name, shipped)
    return next((name for name, found in profiles.items() if found.is_of(device)), None)
