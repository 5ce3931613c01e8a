"""The recipe's part of distillation: the KD levels, their requirements on the networks, and their fields.

The loss term of each level is in reskd/distill/losses.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from reskd.errors import BadInput
from reskd.methods.fields import added, require

KDLevel = Literal["none", "clip", "frame", "pixel", "pixel_kl"]
TeacherMode = Literal["eval", "batch", "official_train"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The facts about a KD level that do not need torch."""

    weight: float
    """Default of kd.weight."""
    same_width: bool = False
    """Whether the last maps of student and teacher must have the same number of channels."""
    same_time: bool = False
    """Whether student and teacher must have the same number of maps in time."""


# The weights of clip and frame are unpublished, so they are 1. pixel and pixel_kl have those of the official code.
# Its 200 for the pixel KL is on a mean over elements, also over 400 classes; on a sum over classes this is 0.5. Both
# include the temperature's square.
LEVELS: dict[KDLevel, Level] = {
    "clip": Level(weight=1.0),
    "frame": Level(weight=1.0, same_time=True),
    "pixel": Level(weight=100.0, same_time=True, same_width=True),
    "pixel_kl": Level(weight=0.5, same_time=True),
}
"""All levels except none."""

_odd = {"none", *LEVELS} ^ set(get_args(KDLevel))
assert not _odd, f"only one of LEVELS and KDLevel has {sorted(_odd)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class KDSpec:
    """What the student learns to match in the teacher."""

    level: KDLevel = "none"
    """clip: KL of the clip's class distribution; frame: KL of each frame's class distribution; pixel: MSE on the last
    feature map; pixel_kl: KL at each cell of that map, through each network's own classifier, also for networks of
    different width."""
    weight: float | None = None
    """Factor of the distillation term. Default: 1 (clip, frame), 100 (pixel) or 0.5 (pixel_kl)."""
    temperature: float = 2.0
    """Temperature of the softmax in the KL terms; 1.0 changes nothing."""
    align_corners: bool = False
    """Alignment of the bilinear resize from the student's map to the teacher's; false in the official code."""
    through_dropout: bool = added(True)
    """For clip only: whether the clip's logits of the KD term pass the dropout of the last layer, as in the official
    code. Frame and cell logits never do, so a comparison of levels is fair only without it."""
    teacher_mode: TeacherMode = "eval"
    """Teacher's batch norm. eval: running statistics. batch: statistics of the current group. official_train: batch,
    and dropout on, as in the official code."""

    def __post_init__(self) -> None:
        levels = get_args(KDLevel)
        require(self.level in levels, "kd.level", self.level, f"one of {', '.join(levels)}")
        require(self.weight is None or self.weight >= 0, "kd.weight", self.weight, "at least 0")
        require(self.temperature > 0, "kd.temperature", self.temperature, "positive")
        must = f"true with kd.level {self.level}; only clip-level logits can pass dropout"
        require(self.through_dropout or self.level == "clip", "kd.through_dropout", self.through_dropout, must)

    @property
    def effective_weight(self) -> float:
        """Factor of the distillation term: `weight`, else the level's default; 0 without distillation."""
        if self.weight is not None:
            return self.weight
        return 0.0 if self.level == "none" else LEVELS[self.level].weight


class LastMap(NamedTuple):
    """Shape of the feature maps that a network computes from a clip before pooling."""

    num_channels: int
    num_time_cells: int


def check_maps(level: KDLevel, ours: LastMap, theirs: LastMap, *, student: str, teacher: str, num_frames: int) -> None:
    """Raise BadInput if a student cannot be taught at this level.

    The last maps are of one clip of ``num_frames`` frames.

    student, teacher: names of the networks, for the message.
    """
    rules = LEVELS[level]
    if rules.same_width and ours.num_channels != theirs.num_channels:
        others = _any_of(name for name, other in LEVELS.items() if not other.same_width)
        raise BadInput(
            f"kd.level is {level!r}, but the last map of {student!r} has {ours.num_channels} channels and that of its "
            f"teacher {teacher!r} has {theirs.num_channels}; choose networks with equally many, or kd.level {others}"
        )
    if rules.same_time and ours.num_time_cells != theirs.num_time_cells:
        others = _any_of(name for name, other in LEVELS.items() if not other.same_time)
        raise BadInput(
            f"kd.level is {level!r}, but from data.num_frames = {num_frames} frames {student!r} computes "
            f"{ours.num_time_cells} maps in time and its teacher {teacher!r} computes {theirs.num_time_cells}; "
            f"choose networks with equally many, or kd.level {others}"
        )


def _any_of(levels: Iterable[str]) -> str:
    """The levels as text, finest first: `pixel_kl, frame or clip`."""
    *others, last = reversed(list(levels))
    return f"{', '.join(others)} or {last}" if others else last
