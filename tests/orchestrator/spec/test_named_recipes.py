"""Named recipes say what the paper's official configs do, and a sweep may start from them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.experiment.smoke import cut_down
from orchestrator.spec.json_schema import sweep_schema
from orchestrator.spec.named_recipes import CONTROLLED, named_recipes
from orchestrator.spec.sweep import load
from orchestrator.store.store import Store
from reskd.errors import BadInput
from reskd.recipe import Recipe
from tests.support.forms import forms

OFFICIAL = ("tsn_activitynet", "tsn_fcvid", "tsn_minikinetics", "tsm_ssv2", "slowonly_k400", "swin_k400")


def recipe_of(folder: Path, name: str, *, base: str = "", row: str = "") -> Recipe:
    path = folder / "sweep.yaml"
    path.write_text(
        f"question: What?\nbase: {{recipe: {name}{base}}}\nrows: {{chain: [{{row: one{row}}}]}}\nseeds: [0]\n",
        encoding="utf-8",
    )
    return load(path).cells[0].recipe


def taught_by(recipe: Recipe) -> Recipe:
    assert isinstance(recipe.teacher, Recipe)
    return recipe.teacher


def test_slowonlys_teacher_and_baseline_flip_and_its_student_does_not(tmp_path: Path) -> None:
    student = recipe_of(tmp_path, "slowonly_k400")
    baseline = recipe_of(tmp_path, "slowonly_k400", row=", kd.level: none, data.flip: true")
    assert (taught_by(student).data.flip, student.data.flip, baseline.data.flip) == (True, False, True)


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_controlled_recipe_gives_student_and_teacher_one_budget_and_one_pipeline(tmp_path: Path, name: str) -> None:
    recipe = recipe_of(tmp_path, name + CONTROLLED)
    assert recipe.optim == taught_by(recipe).optim
    assert recipe.data == taught_by(recipe).data
    assert recipe.model.antialias == taught_by(recipe).model.antialias
    assert (recipe.kd.teacher_mode, recipe.optim.running_stats) == ("eval", "mean")


def test_the_bases_own_values_win_over_the_recipe_and_the_rows_over_both(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, "tsn_activitynet", base=", optim.epochs: 7, optim.lr: .5", row=", optim.lr: .25")
    assert (recipe.optim.epochs, recipe.optim.lr, recipe.optim.clip_norm) == (7, 0.25, 20)
    assert taught_by(recipe).optim.lr == 0.5


def test_a_row_starts_from_another_recipe_with_that_recipes_teacher(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, "slowonly_k400", row=", recipe: swin_k400")
    assert recipe == recipe_of(tmp_path, "swin_k400")


@pytest.mark.parametrize("where", ["base", "row"])
def test_an_unknown_recipe_is_refused_with_the_nearest_name(tmp_path: Path, where: str) -> None:
    name, row = ("tsn_activitnet", "") if where == "base" else ("tsn_fcvid", ", recipe: tsn_activitnet")
    with pytest.raises(BadInput, match=r"sweep\.yaml.*'tsn_activitnet'.*did you mean 'tsn_activitynet'"):
        recipe_of(tmp_path, name, row=row)


def test_reskd_recipes_lists_all_prints_one_and_refuses_others() -> None:
    listed = CliRunner().invoke(app, ["recipes"]).output
    assert all(name in listed for name in (*OFFICIAL, *(name + CONTROLLED for name in OFFICIAL)))
    assert set(named_recipes()) == {*OFFICIAL, *(name + CONTROLLED for name in OFFICIAL)}
    printed = CliRunner().invoke(app, ["recipes", "tsm_ssv2"])
    assert printed.output == named_recipes()["tsm_ssv2"].text
    refused = CliRunner().invoke(app, ["recipes", "tsm_ssv"])
    assert refused.exit_code != 0
    assert "tsm_ssv2" in refused.output + str(refused.exception)


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_controlled_recipe_changes_nothing_but_budget_targets_statistics_and_flip(tmp_path: Path, name: str) -> None:
    official, controlled = recipe_of(tmp_path, name), recipe_of(tmp_path, name + CONTROLLED)
    assert controlled.model == official.model
    assert controlled.kd == replace(official.kd, teacher_mode="eval")
    assert controlled.data == replace(official.data, flip=name != "tsm_ssv2")
    budget = {"slowonly_k400": 150, "swin_k400": 30}.get(name, 50)
    assert controlled.optim == replace(official.optim, epochs=budget, running_stats="mean")


def test_a_rows_recipe_replaces_the_bases_but_not_the_bases_own_values(tmp_path: Path) -> None:
    changed = recipe_of(
        tmp_path, "slowonly_k400", base=", optim.lr: .02, teacher.optim.lr: .005", row=", recipe: tsn_minikinetics"
    )
    alone = recipe_of(tmp_path, "tsn_minikinetics")
    taught = replace(taught_by(alone), optim=replace(taught_by(alone).optim, lr=0.005))
    assert changed == replace(alone, optim=replace(alone.optim, lr=0.02), teacher=taught)


def test_a_recipe_that_only_a_row_names_is_as_one_that_the_base_names(tmp_path: Path) -> None:
    path = tmp_path / "row.yaml"
    path.write_text(
        "question: What?\nbase: {data.num_frames: 4}\nrows: {chain: [{row: a, recipe: tsm_ssv2}]}\nseeds: [0]\n"
    )
    assert load(path).cells[0].recipe == recipe_of(tmp_path, "tsm_ssv2", base=", data.num_frames: 4")


def test_a_teacher_has_no_recipe_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"teacher\.recipe"):
        recipe_of(tmp_path, "tsm_ssv2", base=", teacher.recipe: tsn_activitynet")


def test_the_schema_knows_the_names_in_base_rows_and_axes() -> None:
    schema = jsonschema.Draft202012Validator(sweep_schema())

    def is_taken(base: str, row: str, axis: list[str]) -> bool:
        rows = {"chain": [{"row": "a", "recipe": row}], "grid": {"recipe": axis}}
        return schema.is_valid({"question": "?", "base": {"recipe": base}, "rows": rows, "seeds": [0]})

    good = "swin_k400_controlled"
    assert is_taken(good, good, [good])
    assert not is_taken("swin", good, [good])
    assert not is_taken(good, "swin", [good])
    assert not is_taken(good, good, ["swin"])


@pytest.mark.parametrize(
    ("base", "row"),
    forms(
        [("slowonly_k400", "tsn_minikinetics"), ("swin_k400", "slowonly_k400")],
        light=[("slowonly_k400", "tsn_minikinetics")],
    ),
)
def test_the_smoke_form_of_a_row_with_a_recipe_of_its_own_has_nothing_of_the_bases(
    tmp_path: Path, base: str, row: str
) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        f"question: What?\nbase: {{recipe: {base}, data.name: k}}\n"
        f"rows: {{chain: [{{row: plain}}, {{row: other, recipe: {row}}}]}}\nseeds: [0]\n"
    )
    ((target, _),) = cut_down([path], changes=[], store=Store(tmp_path / "store"))
    real, small = ({cell.row: cell.recipe for cell in load(file).cells} for file in (path, target))
    for name in ("plain", "other"):
        assert small[name].kd == real[name].kd
        for ours, expected in ((small[name], real[name]), (taught_by(small[name]), taught_by(real[name]))):
            assert unsized(ours) == unsized(expected)
            assert ours.model.name.partition("_")[0] == expected.model.name.partition("_")[0]


def unsized(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What a smoke form leaves as it is."""
    sized = {"epochs", "batch_size", "group_size", "warmup_epochs", "schedule", "milestones", "gamma"}
    optim = {name: value for name, value in asdict(recipe.optim).items() if name not in sized}
    data = {name: getattr(recipe.data, name) for name in ("sampling", "frame_stride", "crop", "crop_scales", "flip")}
    return {"optim": optim, "data": data, "model": {"dropout": recipe.model.dropout, "stride": recipe.model.stride}}
