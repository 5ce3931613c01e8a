"""Device profiles: the shipped ones in devices.yaml, or files with the same fields in ``<store>/devices``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from orchestrator.spec.strict import check, naming
from orchestrator.spec.yaml_text import read_yaml
from reskd.cost.gpu_peaks import DEVICE_PEAKS, is_named
from reskd.errors import BadInput
from reskd.files import files_ending
from reskd.recipe import Precision
from reskd.text import file_name_fault

SHIPPED = Path(__file__).parent / "devices.yaml"

GPU_MAKERS = ("NVIDIA", "Tesla", "GeForce", "Radeon")

Mode = Literal["eval", "batch", "train"]
"""eval: forward with folded batch norm. batch: forward with batch statistics. train: forward, backward and
optimiser."""
ClipKind = Literal["packed", "tiny", "short", "long"]
"""packed: JPEG frames. tiny: videos of about two seconds and few pixels, such as the demo's. short: videos of about 10
seconds. long: videos of about 2 minutes at 720p."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceProfile:
    """The speeds and the memory of one device. The profile of a cpu describes one core."""

    kind: Literal["cpu", "gpu"]
    matches: tuple[str, ...]
    """Words of the names that such a device reports; see `reskd.cost.gpu_peaks.is_named`."""
    flops: dict[Precision, float]
    """Floating-point operations per second, by precision."""
    bytes_per_s: float
    efficiency: dict[Mode, float]
    """Share of the roofline that passes reach, by mode."""
    launch_s: float
    """Seconds to start one kernel."""
    start_s: float
    """Seconds from the start of a run to its first training step."""
    memory_bytes: float | None
    """null: unknown, so no job is refused for its memory."""
    decode_core_ms: dict[ClipKind, float]
    """Core-milliseconds to decode a clip of 16 frames, by kind of clip."""
    source: str = "shipped, not measured here"
    next_job_s: float = 1.1
    """Seconds between two jobs of the same workers."""

    def is_of(self, device: str) -> bool:
        """Whether a device with this name has this profile. A cpu profile without `matches` fits every processor."""
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
    """The profile in ``folder`` (``<name>.yaml``), else the shipped one. Raises BadInput if there is none."""
    measured = folder / f"{name}.yaml" if folder and file_name_fault(name) is None else None
    if measured is not None and measured.is_file():
        with naming(str(measured)):
            found: DeviceProfile = check(DeviceProfile, read_yaml(measured))
            # A file of an earlier version has fewer kinds of clips.
            kinds = {**shipped_profiles()["cpu"].decode_core_ms, **found.decode_core_ms}
            return replace(found, decode_core_ms=kinds)
    shipped = shipped_profiles()
    if name not in shipped:
        own = [path.stem for path in files_ending(folder, ".yaml")]
        known = ", ".join([*shipped, *(stem for stem in own if stem not in shipped)])
        raise BadInput(f"the device {name!r} has no profile; choose {known}, or write one into <store>/devices")
    return shipped[name]


@cache
def shipped_profiles() -> dict[str, DeviceProfile]:
    """The profiles of devices.yaml by name. Peaks and names come from `reskd.cost.gpu_peaks`."""
    with naming(str(SHIPPED)):
        written = read_yaml(SHIPPED)
        filled = {name: _with_peaks(name, fields) for name, fields in written.items()}
        profiles: dict[str, DeviceProfile] = check(dict[str, DeviceProfile], filled)
        return profiles


def _with_peaks(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A written profile with the known peaks of its device. Raises TypeError if a field is in both places."""
    if name not in DEVICE_PEAKS:
        return fields
    peaks = DEVICE_PEAKS[name]
    flops = dict(**fields["flops"], bf16=peaks.flops_per_s, fp16=peaks.flops_per_s)
    return dict(**{**fields, "flops": flops}, matches=[name.upper()], bytes_per_s=peaks.bytes_per_s)


def profile_name_of(device: str, *, folder: Path | None = None) -> str | None:
    """The profile's name for a device that reports ``name``: from ``folder``, else from those shipped profiles that no
    file there replaces.

    The result is `cpu` if ``name`` contains no GPU maker.
    """
    profiles = {path.stem: load_profile(path.stem, folder=folder) for path in files_ending(folder, ".yaml")}
    for name, shipped in shipped_profiles().items():
        profiles.setdefault(name, shipped)
    return next((name for name, found in profiles.items() if found.is_of(device)), None)
