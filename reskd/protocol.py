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
    stride: int | None = None
    """From frame to frame of a dense clip; None: a view has a frame of each uniform segment."""
    twice: bool = False
    """Every temporal view a second time, at the beginning of its segments (or starts) instead of their middle."""

    def __post_init__(self) -> None:
        for what, number in (("frames", self.num_frames), ("views", self.num_views), ("stride", self.stride)):
            if number is not None and number < 1:
                raise BadInput(f"a protocol's {what} must be at least 1, got {number}")
        if self.num_crops not in CROPS:
            raise BadInput(f"a protocol's crops must be 1 (centre) or 3 (both ends and centre), got {self.num_crops}")

    @property
    def name(self) -> str:
        stride = "" if self.stride is None else f"s{self.stride}"
        views = f"v{self.num_views}x{self.num_crops}" + ("-twice" if self.twice else "")
        return f"{self.split}-f{self.num_frames}{stride}-{views}"

    @property
    def num_forwards(self) -> int:
        """Views of a clip that a model sees: what its cost is multiplied by."""
        return self.num_views * (1 + self.twice) * self.num_crops

    @property
    def words(self) -> str:
        """`32 frames, 10 temporal views x 3 crops, their softmax averaged`."""
        frames = f"{self.num_frames} frames" + ("" if self.stride is None else f" of stride {self.stride}")
        if self.num_forwards == 1:
            return f"{frames}, one centre view"
        views, crops = counted(self.num_views, "temporal view"), counted(self.num_crops, "crop")
        twice = " taken twice (middle and beginning)" if self.twice else ""
        return f"{frames}, {views}{twice} x {crops}, their softmax averaged"

    def to_dict(self) -> dict[str, Any]:
        """What a record says; sampling only where it is not plain segments, as records had it before."""
        plain = {
            "split": self.split,
            "num_frames": self.num_frames,
            "views": self.num_views,
            "crops": self.num_crops,
        }
        stride = {} if self.stride is None else {"stride": self.stride}
        return plain | stride | ({"twice": True} if self.twice else {})


def parse_protocol(name: str) -> Protocol:
    """The protocol of a name such as ``val-f32-v10x3`` or ``val-f8s8-v10x3``; BadInput for anything else."""
    number = r"([1-9]\d{0,3})"
    found = re.fullmatch(rf"(val)-f{number}(?:s{number})?-v{number}x{number}(-twice)?", name)
    if found is None:
        raise BadInput(
            f"{name!r} is not a protocol's name; write it as val-f32-v10x3 (split, frames, views x crops), "
            "val-f8s8-v10x3 (dense clips of stride 8) or val-f8-v1x3-twice"
        )
    split, frames, stride, views, crops, twice = found.groups()
    return Protocol(
        split=split,
        num_frames=int(frames),
        num_views=int(views),
        num_crops=int(crops),
        stride=None if stride is None else int(stride),
        twice=twice is not None,
    )


def parse_views(text: str, *, what: str = "--views") -> tuple[int, int]:
    """``10x3`` -> (10 temporal views, 3 crops); BadInput with the way out."""
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if found is None or int(found[2]) not in CROPS:
        raise BadInput(f"{what} must be temporal views x crops, such as 10x3, with 1 or 3 crops; got {text!r}")
    return int(found[1]), int(found[2])


def counted(number: int, what: str) -> str:
    """`1 crop`, `3 crops`."""
    return f"{number} {what}{'s' if number > 1 else ''}"
