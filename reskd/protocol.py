"""How a step is judged: which frames and crops of a clip, under a name that is its record's file and metric key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from reskd.errors import BadInput

CROPS = (1, 3)
"""1: the centre; 3: both ends of the long side and the centre."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a step is judged; its own record, never part of what was trained."""

    split: str = "val"
    num_frames: int = 16
    num_views: int = 1
    """Temporal views of ``num_frames`` each, spread evenly over the clip."""
    num_crops: int = 1
    """Spatial crops of each of them; one of CROPS."""

    def __post_init__(self) -> None:
        for what, number in (("frames", self.num_frames), ("views", self.num_views)):
            if number < 1:
                raise BadInput(f"a protocol's {what} must be at least 1, got {number}")
        if self.num_crops not in CROPS:
            raise BadInput(f"a protocol's crops must be 1 (centre) or 3 (both ends and centre), got {self.num_crops}")

    @property
    def name(self) -> str:
        return f"{self.split}-f{self.num_frames}-v{self.num_views}x{self.num_crops}"

    @property
    def words(self) -> str:
        """`32 frames, 10 temporal views x 3 crops, their softmax averaged`."""
        if self.num_views * self.num_crops == 1:
            return f"{self.num_frames} frames, one centre view"
        views, crops = _count(self.num_views, "temporal view"), _count(self.num_crops, "crop")
        return f"{self.num_frames} frames, {views} x {crops}, their softmax averaged"

    def to_dict(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "num_frames": self.num_frames,
            "views": self.num_views,
            "crops": self.num_crops,
        }


def parse_protocol(name: str) -> Protocol:
    """The protocol of a name such as ``val-f32-v10x3``; BadInput for anything else."""
    found = re.fullmatch(r"(val)-f([1-9]\d{0,3})-v([1-9]\d{0,3})x([1-9]\d{0,3})", name)
    if found is None:
        raise BadInput(f"{name!r} is not a protocol's name; write it as val-f32-v10x3: split, frames, views x crops")
    return Protocol(found[1], *map(int, found.groups()[1:]))


def parse_views(text: str) -> tuple[int, int]:
    """``10x3`` -> (10 temporal views, 3 crops); BadInput with the way out."""
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if found is None or int(found[2]) not in CROPS:
        raise BadInput(f"--views must be temporal views x crops, such as 10x3, with 1 or 3 crops; got {text!r}")
    return int(found[1]), int(found[2])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"
