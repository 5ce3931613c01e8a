"""How many operations a training step launches: on a GPU each costs its launch, however small it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.cohort import base, new_teacher, noise
from benchmarks.worker import alone_in_a_group, official_step, our_step, parsed
from reskd.recipe import Recipe

SMALL = [
    *("--student", "tsn_mini10", "--teacher", "tsn_mini18", "--crop", "32", "--resolution", "16"),
    *("--frames", "1", "--clips", "2"),
]
VIEWS = ("view", "t", "transpose", "permute", "slice", "select", "expand", "detach", "unsqueeze", "as_strided", "alias")
VIEWS += ("_unsafe_view", "split", "split_with_sizes", "squeeze")
"""Operations that launch nothing."""


class Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.launched = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.launched += func.overloadpacket.__name__ not in VIEWS
        return func(*args, **(kwargs or {}))


def launched(step: Callable[[], None]) -> int:
    step()  # the first step makes what later ones use
    with Count() as count:
        step()
    return count.launched


@pytest.mark.parametrize(
    ("num_groups", "in_a_pass", "share"),
    [
        pytest.param(1, 1, 0.45, id="one group"),
        pytest.param(4, 1, 1.65, id="four groups one by one"),
        pytest.param(4, 4, 0.85, id="four groups in a pass"),
    ],
)
def test_a_step_launches_no_more_than_this_share_of_the_official_style_loop(
    num_groups: int, in_a_pass: int, share: float
) -> None:
    """The loop takes all clips as one batch, and its optimiser and buffers one tensor at a time."""
    options = parsed([*SMALL, "--groups", str(num_groups), "--groups-per-pass", str(in_a_pass)])
    groups, recipe, device = noise(options), base(options, "eval"), torch.device("cpu")
    assert isinstance(recipe.teacher, Recipe)
    ours, other = (new_teacher(recipe.teacher, groups, mode="eval", device=device) for _ in range(2))
    theirs = other.model.to(memory_format=torch.contiguous_format).eval()
    with alone_in_a_group(device):
        official = launched(official_step(recipe, theirs, groups, device))
    own = launched(our_step(recipe, ours, groups, options))
    assert own <= share * official, f"{own} operations against {official}"
