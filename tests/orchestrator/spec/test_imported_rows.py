"""Rows and teachers from a file of a model that was trained elsewhere: what they become, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from orchestrator.spec.identity import payload
from orchestrator.spec.json_schema import sweep_schema
from orchestrator.spec.steps import Step, build_steps, checkpoint_sha256, name_and_seed
from orchestrator.spec.sweep import Sweep, load, recipe_from_dict, recipe_to_dict
from reskd.errors import BadInput
from reskd.recipe import Checkpoint, DataSpec, EvalSpec, KDSpec, ModelSpec, OptimSpec, Recipe

SWEEP = """
question: Does an official teacher teach?
base:
  data: {name: toy, crop_size: 64, short_side: 64, flip: false}
  model: {name: tsn_mini10, resolution: 32, weights: imagenet_v1}
  optim: {lr: .05, epochs: 7, batch_size: 16, group_size: 4}
  kd.level: pixel
  teacher: {checkpoint: FILE, model: {name: tsn_mini18, resolution: 64}}
rows:
  chain:
    - {row: baseline, kd.level: none}
    - {row: taught}
    - ROW
seeds: [3, 4, 5]
"""
ROW = "{row: official, checkpoint: FILE, model.name: tsn_mini18, model.resolution: 64}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r152.pth"
    path.write_bytes(b"tensors")
    return path


def sweep_of(file: Path, row: str = ROW, *, text: str = SWEEP) -> Sweep:
    path = file.parent / "official.yaml"
    path.write_text(text.replace("ROW", row).replace("FILE", str(file)))
    return load(path)


def steps_of(file: Path, row: str = ROW, *, text: str = SWEEP) -> dict[str, Step]:
    return build_steps(sweep_of(file, row, text=text), manifest_of=lambda spec: "m")


def refusal(file: Path, row: str, *, text: str = SWEEP) -> str:
    with pytest.raises(BadInput) as caught:
        sweep_of(file, row, text=text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_imported_row_is_one_model_without_what_training_uses(file: Path) -> None:
    sweep = sweep_of(file)
    assert sweep.seeds_of("official") == (3,)
    recipe = next(cell.recipe for cell in sweep.cells if cell.row == "official")
    assert recipe == Recipe(
        data=DataSpec(name="toy", crop_size=64, short_side=64),
        model=ModelSpec(name="tsn_mini18", resolution=64),
        optim=OptimSpec(batch_size=16, group_size=4),
        checkpoint=str(file),
    )
    assert (recipe.num_epochs, recipe.has_teacher, recipe.is_imported) == (0, False, True)


def test_the_same_file_as_a_row_and_as_a_teacher_of_every_seed_is_one_step(file: Path) -> None:
    sweep = sweep_of(file)
    steps = build_steps(sweep, manifest_of=lambda spec: "m")
    (official,) = [step for step in steps.values() if step.recipe.is_imported]
    students = [step for step in steps.values() if step.recipe.has_teacher]
    assert len(steps) == 3 + 3 + 1
    assert official.cells == (("official", 3),)
    assert {step.teacher_id for step in students} == {official.id}
    assert {step.payload["teacher"] for step in students} == {official.full_id}
    # As a teacher it has lost what only training uses too: no weights are fetched for it.
    row = next(cell.recipe for cell in sweep.cells if cell.row == "official")
    assert {official.recipe, *(step.recipe.teacher for step in students)} == {row}
    assert name_and_seed(official) == "official, imported"


def test_what_counts_of_an_imported_model(file: Path) -> None:
    (official,) = [step for step in steps_of(file).values() if step.recipe.is_imported]
    sha256 = hashlib.sha256(b"tensors").hexdigest()
    assert checkpoint_sha256(official) == sha256
    # Written out by hand: if this fails, stores have lost their imported models.
    assert official.payload == {
        "data": {
            "crop_scales": [1.0, 0.875, 0.75, 0.66],
            "crop_size": 64,
            "decode": "pyav",
            "flip": True,
            "num_frames": 16,
            "short_side": 64,
        },
        "model": {"antialias": False, "dropout": 0.5, "name": "tsn_mini18", "resolution": 64, "weights": "none"},
        "precision": "fp32",
        "recipe_version": 1,
        "manifest_sha256": "m",
        "checkpoint": f"sha256:{sha256}",
    }


def test_the_content_of_the_file_counts_and_its_path_does_not(file: Path) -> None:
    def identity() -> str:
        return next(step.id for step in steps_of(file).values() if step.recipe.is_imported)

    first = identity()
    moved = file.with_name("moved.pth")
    file.rename(moved)
    file = moved
    assert identity() == first
    file.write_bytes(b"tensor")
    assert identity() != first


def test_nothing_of_a_training_counts_but_network_part_frames_and_content_do() -> None:
    recipe = Recipe(checkpoint="/a.pth")

    def identity(changed: Recipe, content: str = "a") -> str:
        return json.dumps(payload(changed, manifest_sha256="m", teacher=None, checkpoint_sha256=content))

    same = [
        Recipe(checkpoint="/b.pth", optim=OptimSpec(lr=1, batch_size=8, group_size=2), model_seed=5, data_seed=6),
        Recipe(checkpoint="/a.pth", kd=KDSpec(level="pixel"), teacher=Recipe(), eval=EvalSpec(views="4x3")),
        Recipe(
            checkpoint="/a.pth",
            data=DataSpec(flip=False, crop="random_resized"),
            model=ModelSpec(weights="x.pt", head_std=1.0),
        ),
    ]
    assert {identity(each) for each in same} == {identity(recipe)}
    others = [
        identity(Recipe(checkpoint="/a.pth", model=ModelSpec(resolution=112))),
        identity(Recipe(checkpoint="/a.pth", checkpoint_part="student")),
        identity(Recipe(checkpoint="/a.pth", checkpoint_part="teacher")),
        identity(Recipe(checkpoint="/a.pth", data=DataSpec(num_frames=8))),
        identity(Recipe(checkpoint="/a.pth", model=ModelSpec(normalisation="imagenet"))),
        identity(recipe, "b"),
    ]
    assert len({*others, identity(recipe)}) == 7


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("optim.lr: 1", "'optim.lr' has no effect on a model from a file, which is not trained; remove it"),
        ("data.flip: false", "'data.flip' has no effect"),
        ("kd.level: clip", "'kd.level' has no effect"),
        ("model.weights: imagenet_v1", "'model.weights' has no effect"),
        ("teacher.model.name: tsn_mini10", "'teacher.model.name' has no effect"),
        ("checkpoint_part: both", "'checkpoint_part' must be"),
    ],
)
def test_a_row_that_says_how_to_train_an_imported_model_is_refused(change: str, expected: str, file: Path) -> None:
    message = refusal(file, ROW.replace("}", f", {change}}}"))
    assert "row 'official': " in message or "checkpoint_part" in message
    assert expected in message


def test_a_row_may_say_again_that_it_has_no_teacher(file: Path) -> None:
    plain = [step.id for step in steps_of(file).values() if step.recipe.is_imported]
    again = steps_of(file, ROW.replace("}", ", kd.level: none, teacher: null}"))
    assert [step.id for step in again.values() if step.recipe.is_imported] == plain


@pytest.mark.parametrize(
    ("teacher", "expected"),
    [
        (
            "{checkpoint: FILE, model.name: tsn_mini18, optim.lr: 1}",
            "teacher: 'teacher.optim.lr' has no effect on a model",
        ),
        ("{checkpoint: FILE, model.name: tsn_mini18, seed: 1}", "teacher: 'teacher.seed' has no effect on a model"),
        ("{checkpoint: FILE, model.resolution: 64}", "give its network: 'teacher.model.name'"),
        ("{checkpoint_part: teacher, model.name: tsn_mini18}", "checkpoint_part must be null without a checkpoint"),
    ],
)
def test_a_teacher_that_says_how_to_train_it_or_no_network_is_refused(teacher: str, expected: str, file: Path) -> None:
    text = SWEEP.replace("{checkpoint: FILE, model: {name: tsn_mini18, resolution: 64}}", teacher)
    assert expected in refusal(file, "{row: more, optim.lr: 1}", text=text)


def test_a_base_has_no_checkpoint(file: Path) -> None:
    text = SWEEP.replace("  kd.level: pixel", "  kd.level: pixel\n  checkpoint: FILE")
    assert "'checkpoint' is for one model; put it into a row, or below 'teacher'" in refusal(file, ROW, text=text)


def test_a_checkpoint_alone_is_a_weights_file_and_counts_as_it_did(file: Path) -> None:
    text = SWEEP.replace("{checkpoint: FILE, model: {name: tsn_mini18, resolution: 64}}", "{checkpoint: FILE}")
    steps = steps_of(file, "{row: more, optim.lr: 1}", text=text)
    taught = [step for step in steps.values() if step.recipe.has_teacher]
    assert {step.recipe.teacher for step in taught} == {Checkpoint(checkpoint=str(file))}
    assert {step.payload["teacher"] for step in taught} == {f"checkpoint:{hashlib.sha256(b'tensors').hexdigest()}"}


def test_recipes_with_files_survive_being_plain_values() -> None:
    imported = Recipe(checkpoint="/a.pth", checkpoint_part="student", model=ModelSpec(name="tsn_mini18"))
    for teacher in (imported, Checkpoint(checkpoint="/a.pth"), Recipe(checkpoint="/a.pth")):
        recipe = Recipe(kd=KDSpec(level="clip"), teacher=teacher)
        assert recipe_from_dict(json.loads(json.dumps(recipe_to_dict(recipe)))) == recipe
    assert recipe_from_dict(recipe_to_dict(imported)) == imported


def test_a_row_without_seeds_can_neither_decide_their_number_nor_be_stopped(file: Path) -> None:
    auto = "seeds: {auto: {compare: [official, taught], column: test/top1}}"
    assert "names 'official', an imported model, which has no seeds" in refusal(
        file, ROW, text=SWEEP.replace("seeds: [3, 4, 5]", auto)
    )
    stopping = "seeds: [3]\nearly_stopping: {rows: [official]}"
    assert "names 'official', which is imported and not trained" in refusal(
        file, ROW, text=SWEEP.replace("seeds: [3, 4, 5]", stopping)
    )


def test_files_may_be_an_axis(file: Path) -> None:
    other = file.with_name("other.pth")
    other.write_bytes(b"other")
    text = SWEEP.replace("rows:\n", f"rows:\n  grid: {{checkpoint: [FILE, {other}], model.name: [tsn_mini18]}}\n")
    imported = [step for step in steps_of(file, text=text).values() if step.recipe.is_imported]
    assert len(imported) == 3  # two files at the base's resolution, and the teacher's


def test_a_teachers_file_and_network_may_be_typed_in_any_order(file: Path) -> None:
    path = file.parent / "typed.yaml"
    path.write_text(SWEEP.replace("ROW", "{row: more, optim.lr: 1}").replace("FILE", "elsewhere.pt"))
    typed = [f"teacher.checkpoint={file}", "teacher.model.name=tsn_mini10", "teacher.model.resolution=48"]
    teachers = [{cell.recipe.teacher for cell in load(path, changes=order).cells} for order in (typed, typed[::-1])]
    assert teachers[0] == teachers[1]
    (teacher,) = teachers[0] - {None}
    assert isinstance(teacher, Recipe)
    assert (teacher.checkpoint, teacher.model.words) == (str(file), "tsn_mini10 at 48 px")


def test_an_editor_knows_the_keys_of_a_file_where_they_may_stand() -> None:
    schema = sweep_schema()["$defs"]
    for key in ("checkpoint", "checkpoint_part"):
        assert key in schema["Row"]["properties"]
        assert key not in schema["Base"]["properties"]
        assert f"teacher.{key}" in schema["Base"]["properties"]
