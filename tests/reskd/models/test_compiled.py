"""`resources.compile`: what torch.compile makes of the networks, and what happens where it fails."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reskd.models.video_model import VideoModel
from reskd.recipe import Recipe
from tests.support.training import Fit, assert_agree, fit, shorter


@pytest.fixture(scope="module")
def tiny(job: Fit) -> Fit:
    """The cohort with a teacher and students of one residual block, since a compiler works seconds on each layer."""

    def small(recipe: Recipe) -> Recipe:
        return replace(recipe, model=replace(recipe.model, name="tsn_tiny"))

    recipes = {step_id: small(job.recipes[step_id]) for step_id in ("0none", "3pixel")}
    teacher = job.recipes["3pixel"].teacher
    assert isinstance(teacher, Recipe)
    taught = replace(job.spread("tiny", {"7ea": small(teacher)}), teacher=None)
    fit(taught, True)
    return replace(job, recipes=recipes, teacher=taught.folder / "7ea" / "weights.pt")


@pytest.mark.slow  # the compiler works for ten seconds on each
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.parametrize("groups_per_pass", [1, 2])
def test_compiled_networks_agree_with_their_own_to_rounding_in_float64_and_keep_their_bits_alone(
    tiny: Fit, caplog: pytest.LogCaptureFixture, groups_per_pass: int
) -> None:
    recipes = {step_id: shorter(recipe) for step_id, recipe in tiny.recipes.items()}
    plain = tiny.spread(f"plain-{groups_per_pass}", recipes)
    made = replace(tiny.spread(f"made-{groups_per_pass}", recipes), compile=True, groups_per_pass=groups_per_pass)
    fit(plain, True)
    hashes = fit(made, True)
    assert "without torch.compile" not in caplog.text
    assert_agree(plain, made)
    alone = made.spread(f"alone-{groups_per_pass}", {"3pixel": recipes["3pixel"]})
    assert fit(alone, True) == {"3pixel": hashes["3pixel"]}


def test_where_compiling_fails_the_networks_go_on_as_they_are(
    job: Fit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(model: VideoModel, **_: Any) -> Any:
        def call(view: Tensor) -> None:
            model(view)  # a part that ran before leaves no trace
            raise RuntimeError("no working C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    recipes = {step_id: shorter(job.recipes[step_id]) for step_id in ("0none", "3pixel")}
    hashes = fit(job.spread("plain-bits", recipes), True)
    assert fit(replace(job.spread("no-compiler", recipes), compile=True), True) == hashes
    assert "step 0none goes on without torch.compile: RuntimeError: no working C++ compiler" in caplog.text
    assert "the teacher goes on without torch.compile" in caplog.text
