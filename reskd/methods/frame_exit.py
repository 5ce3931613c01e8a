"""The recipe's part of FrameExit: the field that a ModelSpec inherits, its default and its rule.

The networks are in reskd/models/backbones/frame_exit.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reskd.methods.fields import added, require

PREFIX = "frameexit_"
"""Prefix of the names of networks with an exit after each frame."""
DEFAULT_BETA = 1e-4


@dataclass(frozen=True, kw_only=True)
class FrameExitFields:
    """Fields that ModelSpec inherits. Without slots, so that a spec can inherit the fields of several methods."""

    exit_beta: float = added(
        DEFAULT_BETA,
        description="frameexit_* only: an exit after t frames counts as good enough where its loss is below "
        "exit_beta * exp(t / 2); a larger one lets clips leave earlier.",
    )

    name: str

    @property
    def has_exits(self) -> bool:
        """Whether the network has an exit after each frame."""
        return self.name.startswith(PREFIX)

    def check_exits(self, name: str) -> None:
        """Raise BadInput for a value that the network ``name`` cannot have."""
        require(self.exit_beta > 0, "model.exit_beta", self.exit_beta, "positive")
        must = f"1e-4 with model.name {name}; only {PREFIX}* networks have exits"
        require(name.startswith(PREFIX) or self.exit_beta == DEFAULT_BETA, "model.exit_beta", self.exit_beta, must)

    def exit_options(self, num_frames: int | None) -> dict[str, Any]:
        """Arguments for the network's builder, from the spec and the number of frames of its clips."""
        assert num_frames is not None, "a network with an exit after each frame must know the frames of its clips"
        return {"num_exits": num_frames, "exit_beta": self.exit_beta}
