"""The evaluation protocol: which frames and crops of a clip are tested. Its name is part of files and metric keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from reskd.errors import BadInput

CROPS = (1, 3)
"""1: the centre crop. 3: the centre and both ends of the long side."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """An evaluation protocol. It is stored with each evaluation and does not change what is trained."""

    split: str = "val"
    num_frames: int = 16
    num_views: int = 1
    """Number of temporal views, spread evenly over the clip. Each has ``num_frames`` frames."""
    num_crops: int = 1
    """Spatial crops per temporal view; one of CROPS."""
    stride: int | None = None
    """Distance between the frames of a dense view. None: a view has one frame of each uniform segment."""
    twice: bool = False
    """Take every temporal view a second time, at the beginning of its segments (or starts) instead of the middle."""
    short_side: int | None = None
    """Shorter side of a frame in pixels before the crops. None: as in training."""
    crop_size: int | None = None
    """Side of the square crops in pixels. None: as in training."""

    def __post_init__(self) -> None:
        for what, number in (
            ("frames", self.num_frames),
            ("views", self.num_views),
            ("stride", self.stride),
            ("short side", self.short_side),
            ("crop size", self.crop_size),
        ):
            if number is not None and number < 1:
                raise BadInput(f"a protocol's {what} must be at least 1, got {number}")
        if self.short_side is not None and self.crop_size is not None and self.short_side < self.crop_size:
            raise BadInput(
                f"a protocol's short side must be at least its crop size {self.crop_size}, got {self.short_side}"
            )
        if self.num_crops not in CROPS:
            raise BadInput(f"a protocol's crops must be 1 (centre) or 3 (both ends and centre), got {self.num_crops}")

    @property
    def name(self) -> str:
        stride = "" if self.stride is None else f"s{self.stride}"
        views = f"v{self.num_views}x{self.num_crops}" + ("-twice" if self.twice else "")
        sizes = ("" if self.short_side is None else f"-r{self.short_side}") + (
            "" if self.crop_size is None else f"-c{self.crop_size}"
        )
        return f"{self.split}-f{self.num_frames}{stride}-{views}{sizes}"

    def with_sizes(self, *, short_side: int, crop_size: int) -> Protocol:
        """The protocol with its own sizes named, for a comparison of protocols whose trainings have different sizes.

        short_side, crop_size: those of training, in pixels.
        """
        return replace(self, short_side=self.short_side or short_side, crop_size=self.crop_size or crop_size)

    def without_sizes(self, *, short_side: int, crop_size: int) -> Protocol:
        """The same protocol, whose sizes are None where they equal those of training, in pixels."""
        return replace(
            self,
            short_side=None if self.short_side == short_side else self.short_side,
            crop_size=None if self.crop_size == crop_size else self.crop_size,
        )

    @property
    def num_forwards(self) -> int:
        """Forward passes per clip: the model's cost is multiplied by it."""
        return self.num_views * (1 + self.twice) * self.num_crops

    @property
    def words(self) -> str:
        """The protocol in words, such as `32 frames, 10 temporal views x 3 crops, their softmax averaged`."""
        frames = f"{self.num_frames} frames" + ("" if self.stride is None else f" of stride {self.stride}")
        sizes = ("" if self.short_side is None else f", short side {self.short_side} px") + (
            "" if self.crop_size is None else f", crops of {self.crop_size} px"
        )
        if self.num_forwards == 1:
            return f"{frames}, one centre view{sizes}"
        views, crops = counted(self.num_views, "temporal view"), counted(self.num_crops, "crop")
        twice = " taken twice (middle and beginning)" if self.twice else ""
        return f"{frames}, {views}{twice} x {crops}{sizes}, their softmax averaged"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a record. Values that were added later are left out at their defaults, as in older
        records."""
        plain = {
            "split": self.split,
            "num_frames": self.num_frames,
            "views": self.num_views,
            "crops": self.num_crops,
        }
        later = {"stride": self.stride, "short_side": self.short_side, "crop_size": self.crop_size}
        plain |= {name: value for name, value in later.items() if value is not None}
        return plain | ({"twice": True} if self.twice else {})


def parse_protocol(name: str) -> Protocol:
    """The protocol with a name such as ``val-f32-v10x3`` or ``val-f8s8-v10x3``. Raises BadInput for other text."""
    number = r"([1-9]\d{0,3})"
    found = re.fullmatch(
        rf"(val)-f{number}(?:s{number})?-v{number}x{number}(-twice)?(?:-r{number})?(?:-c{number})?", name
    )
    if found is None:
        raise BadInput(
            f"{name!r} is not a protocol's name; write it as val-f32-v10x3 (split, frames, views x crops), "
            "val-f8s8-v10x3 (dense clips of stride 8), val-f8-v1x3-twice, or with a short side and a crop of its own "
            "as val-f8-v1x3-r256-c256"
        )
    split, frames, stride, views, crops, twice, short_side, crop_size = found.groups()
    return Protocol(
        split=split,
        num_frames=int(frames),
        num_views=int(views),
        num_crops=int(crops),
        stride=None if stride is None else int(stride),
        twice=twice is not None,
        short_side=None if short_side is None else int(short_side),
        crop_size=None if crop_size is None else int(crop_size),
    )


def parse_views(text: str, *, what: str = "--views") -> tuple[int, int]:
    """Parse ``10x3`` as (10 temporal views, 3 crops). Raises BadInput for other text."""
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if found is None or int(found[2]) not in CROPS:
        raise BadInput(f"{what} must be temporal views x crops, such as 10x3, with 1 or 3 crops; got {text!r}")
    return int(found[1]), int(found[2])


def counted(number: int, what: str) -> str:
    """A number with its noun, such as `1 crop` or `3 crops`."""
    return f"{number} {what}{'s' if number > 1 else ''}"
