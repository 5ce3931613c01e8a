"""The benchmark of a training step compares two programs that compute the same, and prints every row."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
import torch

from benchmarks.cohort import NUM_CLASSES, STEPS_PER_EPOCH, base, new_teacher, noise
from benchmarks.worker import Recogniser, main, parsed
from reskd.data.transforms import normalise
from reskd.models.catalogue import build_model
from reskd.recipe import Recipe
from reskd.runtime.workers import Workers
from reskd.training.cohort import Cohort
from reskd.training.member import Member

SMALL = [
    *("--alone", "tsn_mini10", "--student", "tsn_mini10", "--teacher", "tsn_mini18", "--crop", "32"),
    *("--resolution", "24", "--frames", "2", "--rounds", "1", "--threads", "1"),
]


def test_every_row_is_printed_with_its_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    main(SMALL)
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = ["tsn_mini10", "tsn_mini10, tsn_mini18 in mode eval", "tsn_mini10, tsn_mini18 in mode batch"]
    assert [line[0] for line in lines[1:]] == names
    assert all(float(number) >= 0 for line in lines[1:] for number in line[1:])


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_the_official_style_loop_has_our_loss(mode: str) -> None:
    options: argparse.Namespace = parsed(SMALL)
    recipe, groups, device = base(options, mode), noise(options), torch.device("cpu")
    recipe = replace(recipe, model=replace(recipe.model, antialias=False))
    assert isinstance(recipe.teacher, Recipe)
    teacher, other = (new_teacher(recipe.teacher, groups, mode=mode, device=device) for _ in range(2))
    member = Member("0", recipe, num_classes=NUM_CLASSES, steps_per_epoch=STEPS_PER_EPOCH, device=device)
    student = build_model(recipe.model, num_classes=NUM_CLASSES)
    student.load_state_dict(member.model.state_dict())
    theirs = Recogniser(
        student.train(), other.model.train(mode == "batch"), resolution=24, weight=recipe.kd.effective_weight
    )
    for model in (student, other.model):
        model.dropout.p = 0.0
    member.model.dropout.p = 0.0
    cohort = Cohort([member], teacher=teacher, workers=Workers())
    task_loss, kd_loss = cohort.step(0, groups).losses["0"]
    (group,) = groups
    expected = theirs(normalise(group.clips, dtype=torch.float32), group.labels)
    assert task_loss + recipe.kd.effective_weight * kd_loss == pytest.approx(float(expected.detach()), rel=1e-4)
