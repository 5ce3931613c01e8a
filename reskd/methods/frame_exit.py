"""FrameExit as a recipe says it: the field of its own that a ModelSpec has, its default and its rule.

The networks are reskd/models/backbones/frame_exit.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reskd.methods.fields import added, require

PREFIX = "frameexit_"
"""How the names of networks with an exit after each frame begin."""
DEFAULT_BETA = 1e-4


@dataclass(frozen=True, kw_only=True)
class FrameExitFields:
    """What a ModelSpec inherits. Without slots, so that a spec can inherit other methods' fields beside them."""

    exit_beta: float = added(
        DEFAULT_BETA,
        description="frameexit_* only: an exit after t frames counts as good enough where its loss is below "
        "exit_beta * exp(t / 2); a larger one lets clips leave earlier.",
    )

    def check_exits(self, name: str) -> None:
        """BadInput for a value that the network called ``name`` cannot have."""
        require(self.exit_beta > 0, "model.exit_beta", self.exit_beta, "positive")
        must = f"1e-4 with model.name {name}; only {PREFIX}* networks have exits"
        require(name.startswith(PREFIX) or self.exit_beta == DEFAULT_BETA, "model.exit_beta", self.exit_beta, must)

    def exit_options(self, num_frames: int | None) -> dict[str, Any]:
        """What the builder of such a network gets of the spec, and of the frames of its clips."""
        assert num_frames is not None, "a network with an exit after each frame must know the frames of its clips"
        return {"num_exits": num_frames, "exit_beta": self.exit_beta}
