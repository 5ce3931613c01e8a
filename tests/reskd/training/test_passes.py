"""Several groups through a network at a time: the same to rounding, fewer where memory ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reskd.errors import BadInput
from reskd.models.backbones.mini import tsn_mini
from reskd.models.catalogue import MODELS, Network
from reskd.models.video_model import VideoModel
from reskd.training.member import Member
from tests.support.training import Fit, assert_agree, fit, shorter

TWO, ALL = ("0none", "3pixel"), ("0none", "1clip", "2frame", "3pixel")
members = pytest.mark.parametrize("names", [TWO, pytest.param(ALL, marks=pytest.mark.slow)], ids=["two", "all"])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eval", "batch", "official_train"])
def test_several_groups_in_a_pass_agree_with_one_after_another_to_rounding_in_float64(job: Fit, mode: str) -> None:
    recipes = {
        step_id: shorter(recipe, kd=replace(recipe.kd, teacher_mode=mode)) for step_id, recipe in job.recipes.items()
    }
    one, four = job.spread(f"one64-{mode}", recipes), job.spread(f"four64-{mode}", recipes)
    fit(one, True)
    fit(replace(four, groups_per_pass=4), True)
    assert_agree(one, four)


@members
def test_several_groups_in_a_pass_keep_the_bits_of_a_member_alone_and_of_a_resume(
    job: Fit, names: tuple[str, ...]
) -> None:
    optim = replace(job.recipes["0none"].optim, epochs=2)
    recipes = {name: replace(job.recipes[name], optim=optim) for name in names}
    together = replace(job.spread(f"passes-{len(names)}", recipes), groups_per_pass=2)
    assert fit(replace(together, stop_after=1), True) == {}
    # Asked for another number, a resume goes on with that of its start.
    hashes = fit(replace(together, groups_per_pass=1), True)
    for step_id in ("3pixel",) if names == TWO else TWO:
        alone = replace(job.spread(f"passes-{len(names)}-{step_id}", {step_id: recipes[step_id]}), groups_per_pass=2)
        assert fit(alone, True) == {step_id: hashes[step_id]}


def narrow(**options: Any) -> VideoModel:
    """tsn_mini10 on a device that has room for two groups of two clips in training, of which it needs both passes."""
    model = tsn_mini(num_blocks=1, **options)

    def refuse(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training and inputs[0].shape[0] > 2 * 2 * 4:  # groups, clips and frames
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    model.backbone.register_forward_pre_hook(refuse)
    return model


@members
def test_out_of_memory_halves_the_groups_of_a_pass_and_changes_results_by_rounding_alone(
    job: Fit, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(MODELS, "tsn_narrow", Network(narrow))
    wide = {step_id: shorter(job.recipes[step_id]) for step_id in names}
    # The first of them has had all its groups when the next one finds no room.
    tight = {
        step_id: replace(recipe, model=replace(recipe.model, name="tsn_narrow")) if step_id != "0none" else recipe
        for step_id, recipe in wide.items()
    }
    one = job.spread(f"roomy-{len(names)}", wide)
    four = replace(job.spread(f"tight-{len(names)}", tight), groups_per_pass=4)
    fit(one, True)
    fit(four, True)
    assert caplog.text.count("out of memory; from now on 2 groups in a pass") == 1
    assert_agree(one, four)


def test_members_without_room_for_one_group_say_so_and_a_single_one_says_what_to_lower(
    job: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(self: Member, *_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Member, "losses", losses)
    with pytest.raises(torch.OutOfMemoryError):
        fit(job.spread("no-room", job.recipes), True)
    with pytest.raises(BadInput, match=r"step 0none does not fit into cpu, alone .*CUDA out of memory.* lower optim"):
        fit(job.spread("no-room-alone", {"0none": job.recipes["0none"]}), True)
