"""Damaged clips: each counted once, and one too many stops the run."""

from __future__ import annotations

import pytest

from reskd.data.damage import DamageLog
from reskd.data.dataset import Damage
from reskd.errors import TooManyDamaged
from reskd.runtime.workers import Workers


def log() -> DamageLog:
    return DamageLog(limit=0.25, num_clips={"train": 8, "val": 4}, workers=Workers())


def test_a_share_up_to_the_limit_goes_on_and_above_it_stops_with_the_list() -> None:
    damaged = log()
    damaged.share("train", [Damage("b.mp4", "cut short"), Damage("a.mp4", "empty")])
    damaged.share("train", [Damage("a.mp4", "empty")])  # met again in the next epoch
    damaged.share("val", [Damage("a.mp4", "empty")])
    assert damaged.to_list() == [
        ["train", "a.mp4", "empty"],
        ["train", "b.mp4", "cut short"],
        ["val", "a.mp4", "empty"],
    ]
    with pytest.raises(TooManyDamaged, match=r"3 of 8 train clips do not decode, more than data\.max_damaged = 0\.25"):
        damaged.share("train", [Damage("c.mp4", "empty")])


def test_a_resume_counts_what_was_met_before() -> None:
    damaged = log()
    damaged.add_list([["val", "a.mp4", "empty"]])
    with pytest.raises(TooManyDamaged, match=r"2 of 4 val clips(.|\n)*  a\.mp4: empty\n  b\.mp4: cut short"):
        damaged.share("val", [Damage("b.mp4", "cut short")])
