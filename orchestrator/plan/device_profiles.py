"""Device profiles: shipped in devices.yaml, or a file of the same form in the store's folder `devices`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from orchestrator.spec.strict import check, naming
from orchestrator.spec.yaml_text import read_yaml
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
    """What one device can do; of a cpu, one core."""

    kind: Literal["cpu", "gpu"]
    matches: tuple[str, ...]
    """Parts of the names that such a device gives itself."""
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
        """Whether it is of a device that gives itself this name; without names of its own of any processor."""
        if self.matches:
            return any(part in device for part in self.matches)
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
    with naming(str(SHIPPED)):
        profiles: dict[str, DeviceProfile] = check(dict[str, DeviceProfile], read_yaml(SHIPPED))
        return profiles


def profile_name_of(device: str, *, folder: Path | None = None) -> str | None:
    """The profile of a device by the name that it gives itself, of those in ``folder`` or else the shipped ones; `cpu`
    for what names no GPU maker.
    """
    own = sorted(folder.glob("*.yaml")) if folder and folder.is_dir() else []
    profiles = {path.stem: load_profile(path.stem, folder=folder) for path in own}
    return next((name for name, found in (profiles | shipped_profiles()).items() if found.is_of(device)), None)
