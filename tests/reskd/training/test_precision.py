"""fp16's loss scale and TF32: against torch's own scaler, in a cohort, and after a resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reskd.checkpoint import FolderSink, state_hash
from reskd.data.dataset import VideoDataset
from reskd.data.loader import train_groups
from reskd.data.manifest import Manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec, KDLevel, ModelSpec, Recipe
from reskd.runtime.precision import AUTOCAST, FIRST_SCALE, LossScaler, tf32
from reskd.runtime.workers import Workers
from reskd.training.cohort import Cohort
from reskd.training.member import Member
from tests.support.pool import Pool
from tests.support.training import Fit, fit, student_recipe, teacher_recipe

KINDS: tuple[KDLevel, ...] = ("none", "pixel_kl")


def half(recipe: Recipe) -> Recipe:
    return replace(recipe, precision="fp16")


def small(recipe: Recipe) -> Recipe:
    """Two frames of 16 pixels: half precision takes a CPU fifteen times longer than single."""
    return replace(
        recipe,
        data=replace(recipe.data, num_frames=2, short_side=32, crop_size=32),
        model=replace(recipe.model, resolution=16),
    )


@pytest.fixture(scope="module")
def job(demo_data: DataSpec, short_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """A teacher, and fp16 members: a plain one, one of pixel_kl, and one of it that is wider than the teacher."""
    folder = tmp_path_factory.mktemp("half")
    fit(Fit({"7eac4e4": small(teacher_recipe(demo_data))}, short_manifest, folder / "teacher", None), True)
    recipes = {f"{number}{level}": half(small(student_recipe(demo_data, level))) for number, level in enumerate(KINDS)}
    wide = replace(recipes["1pixel_kl"], model=ModelSpec(name="tsn_wide", resolution=16))
    official = {
        step_id: replace(recipe, kd=replace(recipe.kd, teacher_mode="official_train"))
        for step_id, recipe in (recipes | {"2wide": wide}).items()
    }
    return Fit(official, short_manifest, folder / "all", folder / "teacher" / "7eac4e4" / "weights.pt")


@pytest.fixture(scope="module")
def hashes(job: Fit, pool: Pool) -> dict[str, str]:
    return pool.run(fit, job.spread("two", job.recipes))[0]


def test_the_scale_moves_as_that_of_torchs_scaler() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs, ours = torch.amp.GradScaler("cpu"), LossScaler()
    for step in range(4300):
        bad = step in (0, 1, 7, 2050)
        parameter.grad = None
        theirs.scale(parameter.sum() * (float("inf") if bad else 1.0)).backward()
        theirs.step(optimizer)
        theirs.update()
        ours.overflowed() if bad else ours.took()
        assert ours.scale == theirs.get_scale(), step
    assert {ours.scale} != {FIRST_SCALE}


@pytest.mark.slow
def test_in_fp16_each_member_has_the_bits_it_has_alone_beside_one_that_overflows(
    job: Fit, pool: Pool, hashes: dict[str, str]
) -> None:
    assert all(len(value) == 64 for value in hashes.values())
    faulty = replace(job.recipes["0none"], model=ModelSpec(name="faulty_nan", resolution=16, dropout=0.5))
    run = job.spread("beside", job.recipes | {"1overflows": faulty})
    together = pool.run(fit, run)[0]
    assert {step_id: together[step_id] for step_id in job.recipes} == hashes
    # One group on one of two workers was not finite: both skipped that step, and the member went on to its end.
    assert len(together["1overflows"]) == 64
    sink = FolderSink(run.folder)
    skipped = {
        step_id: [line["metrics"]["train/skipped_steps"] for line in sink.metrics(step_id)] for step_id in together
    }
    assert sum(skipped["1overflows"]) == sum(skipped["0none"]) + 1
    assert all("nan" not in str(line) for line in sink.metrics("1overflows"))
    for step_id, recipe in job.recipes.items():
        assert pool.run(fit, job.spread(f"alone-{step_id}", {step_id: recipe}))[0] == {step_id: hashes[step_id]}


@pytest.mark.slow
def test_a_resume_keeps_the_scale_and_the_bits(job: Fit, pool: Pool, hashes: dict[str, str]) -> None:
    resumed = job.spread("resumed", job.recipes)
    pool.run(fit, replace(resumed, stop_after=2))
    sink = FolderSink(resumed.folder)
    scalers = [sink.load(step_id, 2)["scaler"] for step_id in job.recipes]
    assert all(scaler["num_good"] + scaler["num_overflows"] > 0 for scaler in scalers)
    assert pool.run(fit, resumed)[0] == hashes
    assert (resumed.folder / "trained_epochs").read_text() == "1 2 3 "


@pytest.fixture(scope="module")
def plain(demo_data: DataSpec, demo_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """One fp16 member without a teacher."""
    return Fit(
        {"0none": half(student_recipe(demo_data, "none"))}, demo_manifest, tmp_path_factory.mktemp("plain"), None
    )


def member_and_groups(job: Fit, recipe: Recipe) -> tuple[Cohort, list]:  # type: ignore[type-arg]
    """Two groups of two clips."""
    member = Member("a", recipe, num_classes=6, steps_per_epoch=50, device=torch.device("cpu"))
    root = Path(str(recipe.data.root))
    dataset = VideoDataset(job.manifest.train, root=root, spec=recipe.data, num_classes=6, split="train", data_seed=0)
    groups = next(train_groups(dataset, epoch=1, batch_size=4, group_size=2, rank=0, world_size=1, loader_workers=0))
    return Cohort([member], teacher=None, workers=Workers()), groups


def test_a_skipped_step_changes_the_scale_alone_and_twenty_in_a_row_are_a_failure(
    plain: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AUTOCAST, "fp16", torch.bfloat16)  # twenty steps in float16 take a CPU a minute
    cohort, groups = member_and_groups(plain, plain.recipes["0none"])
    member = cohort.members[0]
    assert member.scaler is not None
    member.scaler.scale = 2.0**200  # beyond float32 for all twenty
    before = state_hash(member.model.state_dict())
    for step in range(19):
        report = cohort.step(step, groups)
        assert (report.losses, report.skipped, member.failure) == ({}, ["a"], None)
    assert member.scaler.scale == 2.0**181
    assert state_hash(member.model.state_dict()) == before
    assert member.optimizer.state_dict()["state"] == {}
    assert cohort.step(19, groups).skipped == []
    assert member.failure is not None
    assert "overflowed 20 steps in a row, the last at step 19" in member.failure.reason
    assert cohort.live(20) == []


def test_a_good_step_in_float16_ends_the_row(plain: Fit) -> None:
    cohort, groups = member_and_groups(plain, plain.recipes["0none"])
    scaler = cohort.members[0].scaler
    assert scaler is not None
    scaler.scale, scaler.num_overflows = 2.0**8, 19
    assert cohort.step(0, groups).skipped == []
    assert (scaler.num_overflows, scaler.num_good, scaler.scale) == (0, 1, 2.0**8)


def test_the_scale_leaves_no_trace_in_the_gradient(plain: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AUTOCAST, "fp16", torch.bfloat16)
    vectors = []
    for scale in (2.0**6, 2.0**8):
        cohort, groups = member_and_groups(plain, plain.recipes["0none"])
        member = cohort.members[0]
        assert member.scaler is not None
        member.scaler.scale = scale
        cohort.step(0, groups)
        vectors.append(member.vector.clone())
    torch.testing.assert_close(vectors[0], vectors[1], rtol=1e-2, atol=1e-3)


def test_tf32_is_fp32_on_a_cpu_and_its_flags_are_put_back(plain: Fit) -> None:
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    for allowed in (True, False):
        with pytest.raises(KeyError), tf32(allowed):  # noqa: PT012
            assert [flag.allow_tf32 for flag in flags] == [allowed, allowed]
            raise KeyError
        assert [flag.allow_tf32 for flag in flags] == before
    recipe = plain.recipes["0none"]
    full = replace(recipe, precision="fp32", optim=replace(recipe.optim, epochs=1))
    results = [
        fit(plain.spread(name, {"0none": replace(full, precision=name)}), True)
        for name in ("fp32", "tf32")  # type: ignore[arg-type]
    ]
    assert results[0] == results[1]


def test_members_of_other_precision_are_refused(plain: Fit) -> None:
    mixed = {"0none": plain.recipes["0none"], "1full": replace(plain.recipes["0none"], precision="fp32")}
    with pytest.raises(BadInput, match="precision"):
        fit(plain.spread("mixed", mixed), True)
