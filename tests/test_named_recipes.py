"""The named recipes are the official configs' values, and a sweep's own values win over them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.named_recipes import named_recipes
from orchestrator.schema import sweep_schema
from orchestrator.smoke import cut_down
from orchestrator.store import Store
from orchestrator.sweep import load
from reskd.errors import BadInput
from reskd.recipe import Recipe

TSN = {
    "data": {"sampling": "segments", "frame_stride": 1, "crop": "multi_scale", "flip": True},
    "model": {"name": "tsn_resnet50"},
    "kd": {"level": "pixel", "effective_weight": 100.0},
    "optim": {
        "name": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "nesterov": False,
        "backbone_lr": 1.0,
        "schedule": "cosine",
        "milestones": (),
        "warmup_epochs": 0.0,
        "clip_norm": 20.0,
        "batch_size": 64,
        "running_stats": "first",
    },
    "eval": {"metric": "top1", "views": "1x1"},
    "teacher": {"model": {"name": "tsn_resnet152"}, "optim": {"epochs": 50}},
}
"""What the columns share, or differ from below."""
OFFICIAL: dict[str, dict[str, dict[str, Any]]] = {
    "tsn_activitynet": {"data": {"num_frames": 16}, "optim": {"epochs": 200}, "eval": {"metric": "mAP"}},
    "tsn_fcvid": {"data": {"num_frames": 16}, "optim": {"epochs": 200}, "eval": {"metric": "mAP"}},
    "tsn_minikinetics": {"data": {"num_frames": 8}, "optim": {"epochs": 100}},
    "tsm_ssv2": {
        "data": {"num_frames": 8, "flip": False},
        "model": {"name": "tsm_resnet50"},
        "optim": {"epochs": 100},
        "teacher": {
            "model": {"name": "tsm_resnet50"},
            "optim": {"epochs": 50, "lr": 0.0075, "weight_decay": 5e-4},
        },
    },
    "slowonly_k400": {
        "data": {"num_frames": 8, "sampling": "dense", "frame_stride": 8, "crop": "random_resized", "flip": False},
        "model": {"name": "slowonly_resnet50"},
        "optim": {
            "epochs": 150,
            "schedule": "step",
            "milestones": (90, 130),
            "gamma": 0.1,
            "warmup_epochs": 10.0,
            "clip_norm": 40.0,
        },
        "eval": {"views": "10x3"},
        "teacher": {"model": {"name": "slowonly_resnet50"}, "data": {"flip": True}, "optim": {"epochs": 150}},
    },
    "swin_k400": {
        "data": {"num_frames": 32, "sampling": "dense", "frame_stride": 2, "crop": "random_resized"},
        "model": {"name": "swin3d_s"},
        "kd": {"level": "pixel_kl", "effective_weight": 0.5},
        "optim": {
            "name": "adamw",
            "lr": 1e-3,
            "backbone_lr": 0.1,
            "weight_decay": 0.02,
            "batch_size": 512,
            "warmup_epochs": 2.5,
            "epochs": 60,
            "clip_norm": None,
            "running_stats": "mean",
        },
        "eval": {"views": "4x3"},
        "teacher": {"model": {"name": "swin3d_b"}, "optim": {"epochs": 30}},
    },
}
SAME_EVERYWHERE = {
    "data": {"short_side": 256, "crop_size": 224, "crop_scales": (1.0, 0.875, 0.75, 0.66)},
    "model": {"resolution": 112, "weights": "imagenet_v1", "dropout": 0.5, "antialias": False},
    "kd": {"temperature": 2.0, "align_corners": False, "teacher_mode": "official_train"},
    "optim": {"group_size": 8, "decay": "all"},
    "teacher": {"model": {"resolution": 224, "weights": "imagenet_v1"}},
}
CONTROLLED_EPOCHS = {"tsn_activitynet": 50, "tsn_fcvid": 50, "tsn_minikinetics": 50, "tsm_ssv2": 50} | {
    "slowonly_k400": 150,
    "swin_k400": 30,
}


def rows(folder: Path, base: dict[str, Any], *listed: dict[str, Any]) -> dict[str, Recipe]:
    return {cell.row: cell.recipe for cell in load(sweep_file(folder, base, *listed)).cells}


def sweep_file(folder: Path, base: dict[str, Any], *listed: dict[str, Any]) -> Path:
    path = folder / "named.yaml"
    tree = {"question": "Which?", "base": base, "rows": {"chain": [{"row": "plain"}, *listed]}, "seeds": [0]}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def assert_has(recipe: Recipe, values: dict[str, dict[str, Any]], *, without: tuple[str, ...] = ()) -> None:
    for part, fields in values.items():
        for field, value in fields.items():
            if part == "teacher":
                assert isinstance(recipe.teacher, Recipe)
                assert_has(recipe.teacher, {field: value})
            elif f"{part}.{field}" not in without:
                assert getattr(getattr(recipe, part), field) == value, f"{part}.{field}"


def test_there_is_a_recipe_and_its_controlled_variant_for_each_column_of_the_paper() -> None:
    assert set(named_recipes()) == {name + variant for name in OFFICIAL for variant in ("", "_controlled")}
    assert len({recipe.about for recipe in named_recipes().values()}) == 2 * len(OFFICIAL)


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_named_recipe_has_the_official_values(tmp_path: Path, name: str) -> None:
    recipe = rows(tmp_path, {"recipe": name})["plain"]
    own = OFFICIAL[name]
    for part in TSN:
        assert_has(recipe, {part: {**TSN[part], **SAME_EVERYWHERE.get(part, {}), **own.get(part, {})}})
    assert_has(recipe, {"teacher": SAME_EVERYWHERE["teacher"]})
    # All that its own lines above do not say, the teacher has from its student.
    assert isinstance(recipe.teacher, Recipe)
    changed = own.get("teacher", TSN["teacher"])
    assert recipe.teacher.optim == replace(recipe.optim, **changed["optim"])
    assert recipe.teacher.data == replace(recipe.data, **changed.get("data", {}))


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_controlled_recipe_gives_student_and_teacher_one_budget_and_fixed_targets(tmp_path: Path, name: str) -> None:
    official = rows(tmp_path, {"recipe": name})["plain"]
    recipe = rows(tmp_path, {"recipe": name + "_controlled"})["plain"]
    assert isinstance(recipe.teacher, Recipe)
    assert recipe.kd == replace(official.kd, teacher_mode="eval")
    assert recipe.optim == recipe.teacher.optim
    assert recipe.data == recipe.teacher.data
    assert recipe.optim == replace(official.optim, epochs=CONTROLLED_EPOCHS[name], running_stats="mean")
    assert recipe.model == official.model


def test_the_sweeps_own_values_win_over_the_recipes_and_the_rows_over_both(tmp_path: Path) -> None:
    base = {"recipe": "tsn_activitynet", "optim": {"lr": 0.02}, "teacher.optim.epochs": 7}
    found = rows(tmp_path, base, {"row": "own", "optim.lr": 0.03, "teacher.optim.epochs": 8})
    plain, own = found["plain"], found["own"]
    assert (plain.optim.lr, plain.teacher.optim.lr, plain.teacher.optim.epochs) == (0.02, 0.02, 7)
    assert (own.optim.lr, own.teacher.optim.lr, own.teacher.optim.epochs) == (0.03, 0.02, 8)
    assert (own.optim.epochs, own.teacher.model.name) == (200, "tsn_resnet152")


def test_a_rows_recipe_replaces_the_bases_recipe_with_its_teacher_but_not_the_bases_own_values(tmp_path: Path) -> None:
    base = {"recipe": "slowonly_k400", "optim.lr": 0.02, "teacher.optim.lr": 0.005}
    own = rows(tmp_path, base, {"row": "other", "recipe": "tsn_minikinetics", "model.resolution": 72})["other"]
    alone = rows(tmp_path, {"recipe": "tsn_minikinetics"})["plain"]
    assert isinstance(alone.teacher, Recipe)
    expected = replace(alone, model=replace(alone.model, resolution=72), optim=replace(alone.optim, lr=0.02))
    taught = replace(alone.teacher, optim=replace(alone.teacher.optim, lr=0.005))
    assert own == replace(expected, teacher=taught)


def test_a_recipe_that_only_a_row_names_is_as_one_that_the_base_names(tmp_path: Path) -> None:
    in_row = rows(tmp_path, {"data.num_frames": 4}, {"row": "named", "recipe": "tsm_ssv2"})["named"]
    assert in_row == rows(tmp_path, {"recipe": "tsm_ssv2", "data.num_frames": 4})["plain"]


@pytest.mark.parametrize("in_row", [False, True])
def test_an_unknown_recipe_is_refused_with_the_nearest(tmp_path: Path, in_row: bool) -> None:
    unknown = {"recipe": "tsn_activitynt"}
    listed = [{"row": "named", **unknown}] if in_row else []
    with pytest.raises(BadInput, match=r"'tsn_activitynt', which is not .*; did you mean 'tsn_activitynet'"):
        rows(tmp_path, {} if in_row else unknown, *listed)


def test_a_teacher_has_no_recipe_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"teacher\.recipe"):
        rows(tmp_path, {"teacher.recipe": "tsn_activitynet"})


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


@pytest.mark.parametrize(("base", "row"), [("slowonly_k400", "tsn_minikinetics"), ("swin_k400", "slowonly_k400")])
def test_the_smoke_form_of_a_row_with_a_recipe_of_its_own_has_nothing_of_the_bases(
    tmp_path: Path, base: str, row: str
) -> None:
    path = sweep_file(tmp_path, {"recipe": base, "data.name": "k"}, {"row": "other", "recipe": row})
    target, _ = cut_down(path, changes=[], store=Store(tmp_path / "store"))
    real, small = ({cell.row: cell.recipe for cell in load(file).cells} for file in (path, target))
    for name in ("plain", "other"):
        assert small[name].kd == real[name].kd
        for ours, expected in ((small[name], real[name]), (small[name].teacher, real[name].teacher)):
            assert unsized(ours) == unsized(expected)
            assert ours.model.name.partition("_")[0] == expected.model.name.partition("_")[0]


def unsized(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What a smoke form leaves as it is."""
    sized = {"epochs", "batch_size", "group_size", "warmup_epochs", "schedule", "milestones", "gamma"}
    optim = {name: value for name, value in asdict(recipe.optim).items() if name not in sized}
    data = {name: getattr(recipe.data, name) for name in ("sampling", "frame_stride", "crop", "crop_scales", "flip")}
    return {"optim": optim, "data": data, "model": {"dropout": recipe.model.dropout, "stride": recipe.model.stride}}
