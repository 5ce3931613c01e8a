from __future__ import annotations

import math

import pytest
import torch

from reskd.errors import BadInput
from reskd.recipe import OptimSpec
from reskd.training.schedule import learning_rate


@pytest.mark.parametrize(("epochs", "warmup"), [(12, 0.0), (10, 4.0)])
def test_onecycle_equals_torchs_without_its_momentum_cycle(epochs: int, warmup: float) -> None:
    spec = OptimSpec(lr=0.05, schedule="onecycle", epochs=epochs, warmup_epochs=warmup)
    steps_per_epoch = 22
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        0.05,
        total_steps=epochs * steps_per_epoch,
        pct_start=warmup / epochs or 0.3,
        cycle_momentum=False,
    )
    for step in range(epochs * steps_per_epoch):
        assert learning_rate(spec, step, steps_per_epoch=steps_per_epoch) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        if step + 1 < epochs * steps_per_epoch:
            reference.step()


def test_cosine_moves_by_epoch_from_the_peak_towards_zero() -> None:
    spec = OptimSpec(lr=0.1, epochs=4)
    rates = [learning_rate(spec, step, steps_per_epoch=3) for step in range(12)]
    expected = [0.05 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4) for _ in range(3)]
    assert rates == pytest.approx(expected)


def test_warmup_rises_linearly_from_a_tenth() -> None:
    spec = OptimSpec(lr=1.0, epochs=100, warmup_epochs=1.0)
    rates = [learning_rate(spec, step, steps_per_epoch=9) for step in range(9)]
    assert rates == pytest.approx([0.1 + 0.1 * step for step in range(9)])


def test_steps_fall_at_their_milestones_above_a_linear_warmup() -> None:
    spec = OptimSpec(lr=1.0, schedule="step", milestones=(3, 5), gamma=0.5, epochs=6, warmup_epochs=2.0)
    rates = [learning_rate(spec, step, steps_per_epoch=2) for step in range(12)]
    assert rates == pytest.approx([0.1, 0.325, 0.55, 0.775, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])


def test_a_milestone_inside_the_warmup_counts_for_both() -> None:
    spec = OptimSpec(lr=1.0, schedule="step", milestones=(1,), epochs=3, warmup_epochs=2.0)
    assert learning_rate(spec, 2, steps_per_epoch=2) == pytest.approx(0.1 * 0.55)


@pytest.mark.parametrize("milestones", [(), (0, 3), (6,), (4, 2), (2, 2)])
def test_milestones_that_make_no_schedule_are_refused(milestones: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"optim\.milestones must be one or more epochs in \(0, optim\.epochs = 6\)"):
        OptimSpec(schedule="step", milestones=milestones, epochs=6)


def test_milestones_of_another_schedule_are_refused() -> None:
    with pytest.raises(BadInput, match=r"optim\.milestones must be empty with optim\.schedule cosine"):
        OptimSpec(milestones=(3,), epochs=6)
