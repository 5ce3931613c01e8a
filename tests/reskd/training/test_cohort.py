"""The promises of a cohort: bit for bit as if each member ran alone, whatever the others do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from reskd.checkpoint import FolderSink, state_hash
from reskd.data.dataset import VideoDataset
from reskd.data.loader import train_groups
from reskd.distill.teacher import Teacher, load_teacher
from reskd.errors import BadInput
from reskd.files import read_json
from reskd.models.video_model import ClipOutput
from reskd.recipe import DataSpec, KDSpec, ModelSpec, Recipe
from reskd.runtime.workers import Workers
from reskd.training.cohort import Cohort
from reskd.training.member import Member
from tests.support.pool import Pool
from tests.support.training import LEVELS, Fit, assert_agree, fit, shorter, student_recipe

ONE_MEMBER = [pytest.param(name, marks=pytest.mark.slow) for name in ("0none", "1clip", "2frame")] + ["3pixel"]
"""Of the cohort's members one in every run of the tests, the others in `make test-all`."""
SOME = [("0none", "3pixel"), pytest.param(("0none", "1clip", "2frame", "3pixel"), marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def hashes_of_one(job: Fit) -> dict[str, str]:
    """The cohort's hashes with one worker."""
    return fit(job.spread("one", job.recipes), True)


@pytest.fixture(scope="module")
def hashes_of_two(job: Fit, pool: Pool) -> dict[str, str]:
    """The cohort's hashes with two workers: what most tests here compare with."""
    return pool.run(fit, job.spread("two", job.recipes))[0]


def test_members_of_a_cohort_end_with_weights_of_their_own(hashes_of_one: dict[str, str]) -> None:
    assert len(set(hashes_of_one.values())) == len(LEVELS)


@pytest.mark.parametrize("step_id", ONE_MEMBER)
def test_each_member_of_a_cohort_ends_with_the_bits_it_has_alone_on_one_worker(
    job: Fit, hashes_of_one: dict[str, str], step_id: str
) -> None:
    alone = fit(job.spread(f"one-{step_id}", {step_id: job.recipes[step_id]}), True)
    assert alone == {step_id: hashes_of_one[step_id]}


@pytest.mark.parametrize("step_id", ONE_MEMBER)
def test_each_member_of_a_cohort_ends_with_the_bits_it_has_alone_on_two_workers(
    job: Fit, pool: Pool, hashes_of_two: dict[str, str], step_id: str
) -> None:
    alone = pool.run(fit, job.spread(f"two-{step_id}", {step_id: job.recipes[step_id]}))[0]
    assert alone == {step_id: hashes_of_two[step_id]}


@pytest.mark.parametrize("members", SOME, ids=lambda names: f"{len(names)} members")
def test_a_resume_in_mid_training_ends_with_the_bits_of_the_undisturbed_run(
    job: Fit, pool: Pool, hashes_of_two: dict[str, str], members: tuple[str, ...]
) -> None:
    resumed = job.spread(f"resumed-{len(members)}", {step_id: job.recipes[step_id] for step_id in members})
    assert pool.run(fit, replace(resumed, stop_after=2)) == [{}, {}]
    sink = FolderSink(resumed.folder)
    assert [sink.epochs(step_id) for step_id in members] == [(1, 2)] * len(members)
    # One member lost its newest checkpoint, as when the crash comes between two members' saves.
    (resumed.folder / "0none" / "checkpoints" / "epoch_0002.pt").unlink()
    assert pool.run(fit, resumed)[0] == {step_id: hashes_of_two[step_id] for step_id in members}
    assert (resumed.folder / "trained_epochs").read_text() == "1 2 2 3 "
    assert [line["epoch"] for line in sink.metrics("3pixel")] == [1, 2, 3]


def test_members_with_fewer_epochs_leave_early_and_change_no_bit(
    job: Fit, pool: Pool, hashes_of_two: dict[str, str]
) -> None:
    short = replace(job.recipes["1clip"], optim=replace(job.recipes["1clip"].optim, epochs=1))
    mixed = pool.run(fit, job.spread("mixed", {"0none": job.recipes["0none"], "1short": short}))[0]
    assert mixed["0none"] == hashes_of_two["0none"]
    assert mixed["1short"] == pool.run(fit, job.spread("short", {"1short": short}))[0]["1short"]


@pytest.mark.parametrize("members", SOME, ids=lambda names: f"{len(names)} members")
def test_a_member_that_fails_on_one_worker_leaves_with_its_traceback_and_the_others_keep_their_bits(
    job: Fit, pool: Pool, hashes_of_two: dict[str, str], members: tuple[str, ...]
) -> None:
    good = {step_id: job.recipes[step_id] for step_id in members}
    faulty = {
        f"2faulty_{where}": replace(
            job.recipes["0none"], model=ModelSpec(name=f"faulty_{where}", resolution=24, dropout=0.5)
        )
        for where in ("forward", "backward", "nan")
    }
    broken = job.spread(f"broken-{len(members)}", good | faulty)
    result = pool.run(fit, broken)[0]
    assert {step_id: result[step_id] for step_id in members} == {step_id: hashes_of_two[step_id] for step_id in members}
    assert "RuntimeError: broken in forward" in result["2faulty_forward"]
    assert "RuntimeError: broken in backward" in result["2faulty_backward"]
    assert "gradient's norm is nan" in result["2faulty_nan"]
    for step_id in faulty:
        record = read_json(broken.folder / step_id / "failed.json")
        assert record is not None
        assert record["step"] == 2
        assert not (broken.folder / step_id / "DONE.json").exists()


@pytest.mark.parametrize("members", SOME, ids=lambda names: f"{len(names)} members")
def test_one_and_two_workers_agree_to_rounding_in_float64(job: Fit, pool: Pool, members: tuple[str, ...]) -> None:
    recipes = {step_id: shorter(job.recipes[step_id]) for step_id in members}
    one, two = job.spread(f"one64-{len(members)}", recipes), job.spread(f"two64-{len(members)}", recipes)
    fit(one, True)
    pool.run(fit, two)
    assert_agree(one, two)


def test_loader_processes_that_go_ahead_of_the_next_epoch_change_no_bit(
    job: Fit, hashes_of_one: dict[str, str]
) -> None:
    ahead = replace(job.spread("ahead", {"0none": job.recipes["0none"]}), loader_workers=1)
    assert fit(ahead, True) == {"0none": hashes_of_one["0none"]}


@pytest.mark.usefixtures("hashes_of_one", "hashes_of_two")
def test_validation_counts_each_of_seven_clips_once_on_one_and_on_two_workers(job: Fit) -> None:
    records = []
    for name in ("one", "two"):
        sink = FolderSink(job.folder.parent / name)
        assert sink.evaluations("3pixel")["val-f4-v1x1"]["num_clips"] == 7
        records.append(sink.logits("3pixel", "val-f4-v1x1"))
    np.testing.assert_array_equal(records[0]["indices"], np.arange(7))
    np.testing.assert_array_equal(records[1]["indices"], np.arange(7))
    np.testing.assert_array_equal(records[0]["targets"], records[1]["targets"])
    np.testing.assert_allclose(records[0]["logits"], records[1]["logits"], atol=0.05)


@pytest.mark.parametrize("mode", ["eval", "batch", "official_train"])
def test_neither_the_teachers_parameters_nor_its_buffers_move(job: Fit, demo_data: DataSpec, mode: str) -> None:
    assert job.teacher is not None
    teacher = load_teacher(job.teacher, classes=job.manifest.classes, mode=mode, device=torch.device("cpu"))  # type: ignore[arg-type]
    models = (teacher.model, teacher.for_students)
    before = [state_hash(model.state_dict()) for model in models]
    recipe = replace(student_recipe(demo_data, "pixel"), kd=KDSpec(level="pixel", teacher_mode=mode))  # type: ignore[arg-type]
    cohort = _cohort(job, recipe, teacher)
    _one_step(cohort, job, recipe)
    assert [state_hash(model.state_dict()) for model in models] == before
    for model in models:
        is_training = mode == "official_train" and model is teacher.for_students
        assert all(module.training == is_training for module in model.modules())
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_a_teacher_in_batch_mode_answers_with_the_statistics_of_the_group_at_hand(job: Fit) -> None:
    assert job.teacher is not None
    teachers = {
        mode: load_teacher(job.teacher, classes=job.manifest.classes, mode=mode, device=torch.device("cpu"))
        for mode in ("eval", "batch")
    }
    clips = torch.randn(4, 4, 3, 64, 64)
    by_group = teachers["batch"].for_students(clips).features
    reference = load_teacher(job.teacher, classes=job.manifest.classes, mode="eval", device=torch.device("cpu")).model
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    torch.testing.assert_close(by_group, reference(clips).features)
    assert not torch.allclose(by_group, teachers["eval"].for_students(clips).features)


def test_running_statistics_are_the_mean_over_groups_of_one_update_each(job: Fit, demo_data: DataSpec) -> None:
    recipe = student_recipe(demo_data, "none")
    cohort = _cohort(job, recipe, None)
    model = cohort.members[0].model
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().mean((0, 2, 3))))
    old = norm.running_mean.clone()
    _one_step(cohort, job, recipe)
    assert len(seen) == recipe.optim.num_groups
    expected = torch.stack([0.9 * old + 0.1 * mean for mean in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected)
    assert int(norm.num_batches_tracked) == 1


def test_a_parameter_that_no_gradient_reaches_is_named(job: Fit, demo_data: DataSpec) -> None:
    recipe = student_recipe(demo_data, "none")
    cohort = _cohort(job, recipe, None)
    member = cohort.members[0]
    original = member.model.forward

    def forget_the_head(clips: torch.Tensor) -> ClipOutput:
        output = original(clips)
        pooled = output.features.mean((2, 3)).unflatten(0, clips.shape[:2])
        return ClipOutput(output.features, output.frame_logits, pooled.mean(1)[:, :6])

    member.model.forward = forget_the_head  # type: ignore[method-assign]
    _one_step(cohort, job, recipe)
    assert member.failure is not None
    assert "classifier.weight" in member.failure.reason


def test_pixel_level_refuses_maps_of_different_width(job: Fit, demo_data: DataSpec) -> None:
    recipe = replace(student_recipe(demo_data, "pixel"), model=ModelSpec(name="tsn_resnet18", resolution=64))
    assert job.teacher is not None
    teacher = load_teacher(job.teacher, classes=job.manifest.classes, mode="eval", device=torch.device("cpu"))
    with pytest.raises(BadInput, match=r"^step a: .* has 512 channels and that of its teacher 'tsn_mini18' has 128; "):
        _cohort(job, recipe, teacher)


def test_a_teacher_of_other_classes_is_refused(job: Fit) -> None:
    assert job.teacher is not None
    with pytest.raises(BadInput, match=r"the teacher knows 6 classes .* the data set has 2"):
        load_teacher(job.teacher, classes=("fight", "noFight"), mode="eval", device=torch.device("cpu"))


def _cohort(job: Fit, recipe: Recipe, teacher: Teacher | None) -> Cohort:
    member = Member("a", recipe, num_classes=6, steps_per_epoch=2, device=torch.device("cpu"))
    return Cohort([member], teacher=teacher, workers=Workers())


def _one_step(cohort: Cohort, job: Fit, recipe: Recipe) -> None:
    dataset = VideoDataset(
        job.manifest.train,
        root=Path(str(recipe.data.root)),
        spec=recipe.data,
        num_classes=6,
        split="train",
        data_seed=0,
    )
    groups = next(train_groups(dataset, epoch=1, batch_size=16, group_size=4, rank=0, world_size=1, loader_workers=0))
    cohort.step(0, groups)


def fit_with_a_seed_of_its_own(job: Fit) -> dict[str, str]:
    recipes = {step_id: replace(recipe, model_seed=dist.get_rank()) for step_id, recipe in job.recipes.items()}
    return fit(replace(job, recipes=recipes))


def test_workers_that_start_from_other_weights_are_refused(job: Fit, pool: Pool) -> None:
    apart = job.spread("apart", {"0none": job.recipes["0none"]})
    with pytest.raises(RuntimeError, match="starts 0none from other weights"):
        pool.run(fit_with_a_seed_of_its_own, apart)


@pytest.mark.usefixtures("hashes_of_one")
def test_agreement_is_the_share_of_clips_on_which_student_and_teacher_say_the_same(job: Fit) -> None:
    theirs = FolderSink(job.folder.parent / "teacher").logits("7eac4e4", "val-f4-v1x1")["logits"]
    sink = FolderSink(job.folder.parent / "one")
    ours = sink.logits("3pixel", "val-f4-v1x1")["logits"]
    expected = (ours.argmax(1) == theirs.argmax(1)).mean()
    assert (sink.done("3pixel") or {})["metrics"]["test/agreement"] == expected
    assert "test/agreement" not in (sink.done("0none") or {})["metrics"]
    line = sink.metrics("3pixel")[0]["metrics"]
    assert line["train/loss"] == pytest.approx(line["train/task_loss"] + 20 * line["train/kd_loss"])


def test_a_states_hash_covers_every_buffer() -> None:
    model = torch.nn.BatchNorm1d(3)
    hashes = {state_hash(model.state_dict())}
    for number, buffer in enumerate(model.buffers(), start=2):
        buffer += 1
        hashes.add(state_hash(model.state_dict()))
        assert len(hashes) == number
