"""Estimates against figures that were computed elsewhere: published counts, a roofline, arithmetic written out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.plan.cost import ClipCounts, Costs, roofline_seconds
from orchestrator.plan.device_profiles import load_profile, profile_name_of, shipped_profiles
from orchestrator.spec.steps import build_steps
from orchestrator.spec.sweep import Resources
from reskd.cost.gmacs import complexity
from reskd.cost.layer_traffic import trace
from reskd.errors import BadInput
from reskd.models.catalogue import MODELS, build_model
from reskd.recipe import DataSpec, EvalSpec, KDSpec, ModelSpec, OptimSpec, Recipe
from tests.support.forms import forms
from tests.support.recipe_sweep import sweep_of

RESNET50 = {224: 3816, 144: 9003, 112: 14768, 96: 20770, 72: 32281, 56: 54937}
"""Clips/s of ResNet-50 by a bf16 roofline of one H200 (790 T operations and 4.3 TB a second), computed elsewhere."""
TRAINING = {224: 11.3, 144: 26.9, 112: 44.2, 96: 61.8, 72: 98.1, 56: 165.8}
"""1,000 frames/s of its training, by the same roofline."""
PEAKS = (790e12, 4.3e12)


def resnet50(resolution):
    return ("tsn_resnet50", None, resolution, 16)


@pytest.mark.parametrize(
    "name",
    forms(
        ["tsn_resnet18", "tsn_mobilenet_v2", "slowonly_mini10", "swin3d_mini", "tsm_resnet18"],
        light=["tsn_resnet18", "slowonly_mini10", "swin3d_mini"],
    ),
)
def test_a_trace_has_the_operations_that_flops_counts(name):
    resolution = 64
    expected = complexity(build_model(ModelSpec(name=name), num_classes=200), resolution=resolution, num_frames=8)
    found = trace(ModelSpec(name=name, resolution=resolution), num_frames=8)
    assert found.flops / 1e9 == pytest.approx(expected.gflops, rel=1e-6)
    assert found.num_params == expected.num_params


def test_teacher_and_student_have_the_papers_operations():
    assert trace(ModelSpec(name="tsn_resnet152"), num_frames=16).flops / 1e9 == pytest.approx(368.4, rel=1e-3)
    student = trace(ModelSpec(resolution=112), num_frames=16)
    assert 3 * student.flops / 1e9 == pytest.approx(102.4, rel=0.01)  # the first layer needs no gradient of its input


def test_every_network_can_be_traced_and_keeps_something_for_its_backward():
    for name in MODELS:
        if "mini" in name or name in ("frameexit_resnet18", "r3d_18", "mvit_v2_s"):
            found = trace(ModelSpec(name=name, resolution=224 if name.startswith("mvit") else 64), num_frames=16)
            assert found.flops > 0
            assert found.saved > 0


def test_activations_that_training_keeps_are_those_counted_elsewhere():
    # bf16 GB a clip, from saved-tensor bytes: 0.69 at 224 pixels, 0.176 at 112.
    assert 2 * trace(ModelSpec(), num_frames=16).saved / 1e9 == pytest.approx(0.69, rel=0.02)
    assert 2 * trace(ModelSpec(resolution=112), num_frames=16).saved / 1e9 == pytest.approx(0.176, rel=0.02)


@pytest.mark.parametrize("resolution", RESNET50)
def test_resnet50s_roofline_is_within_four_percent_of_one_computed_elsewhere(resolution):
    inference = 64 / roofline_seconds(resnet50(resolution), 64, 2, "eval", *PEAKS)
    assert inference == pytest.approx(RESNET50[resolution], rel=0.04)
    training = 64 * 16 / roofline_seconds(resnet50(resolution), 64, 2, "train", *PEAKS)
    assert training / 1000 == pytest.approx(TRAINING[resolution], rel=0.04)


def test_a_teacher_with_batch_statistics_is_slower_by_three_passes():
    teacher = ("tsn_resnet152", None, 224, 16)
    folded, batch = (1024 / roofline_seconds(teacher, 64, 2, mode, *PEAKS) for mode in ("eval", "batch"))
    assert folded == pytest.approx(25_543, rel=0.04)
    assert batch == pytest.approx(14_038, rel=0.04)


def test_a_stride_of_16_costs_more():
    coarse, fine = (("tsn_resnet18", stride, 64, 4) for stride in (None, 16))
    assert roofline_seconds(fine, 8, 2, "eval", *PEAKS) > 2 * roofline_seconds(coarse, 8, 2, "eval", *PEAKS)


DATA = DataSpec(name="toy", num_frames=4, short_side=64, crop_size=64)
TEACHER = Recipe(
    data=DATA, model=ModelSpec(name="tsn_mini18", resolution=64), optim=OptimSpec(epochs=2, batch_size=16, group_size=8)
)
STUDENT = replace(TEACHER, model=ModelSpec(name="tsn_mini10", resolution=24), kd=KDSpec(level="pixel"), teacher=TEACHER)
RESOURCES = Resources(loader_workers=4, cpus_per_worker=5, gpus_per_worker=1)


def costs_of(**changes):
    profile = replace(load_profile("h200"), **changes)
    return Costs(device="h200", profile=profile, clips=lambda step: ClipCounts(train=160, val=0))


def steps_of(*recipes):
    steps = build_steps(sweep_of(*((str(i), recipe) for i, recipe in enumerate(recipes))), manifest_of=lambda data: "m")
    return [step for step in steps.values() if step.cells]


def test_a_cohort_pays_for_one_teacher_and_each_member():
    costs = costs_of(launch_s=1e-12, decode_core_ms={"packed": 0.0}, next_job_s=1e-9)
    other = replace(STUDENT, kd=KDSpec(level="clip"))
    solo, both = (
        costs.job(steps_of(*recipes), workers=1, resources=RESOURCES) for recipes in ((STUDENT,), (STUDENT, other))
    )
    plain = replace(STUDENT, kd=KDSpec(), teacher=None)
    student = costs.job(steps_of(plain), workers=1, resources=RESOURCES)
    assert both.seconds == pytest.approx(solo.seconds + student.seconds, rel=1e-6)
    assert solo.seconds > 3 * student.seconds
    assert both.bound == "compute"


def test_a_step_takes_what_it_waits_for_longest_written_out():
    slow = costs_of(decode_core_ms={"packed": 80.0}, next_job_s=1e-9)
    estimate = slow.job(steps_of(STUDENT), workers=1, resources=RESOURCES)
    # 2 epochs x 10 steps x 16 clips of 4 of 16 frames, by 4 processes.
    assert estimate.seconds == pytest.approx(2 * 10 * 16 * 0.080 * 4 / 16 / 4, rel=1e-6)
    assert estimate.bound == "decode"
    assert estimate.step_ms == pytest.approx(80.0)
    launched = costs_of(decode_core_ms={"packed": 0.0}, next_job_s=1e-9, launch_s=1e-3)
    kernels = len(trace(TEACHER.model, num_frames=4).layers) + 3 * len(trace(STUDENT.model, num_frames=4).layers)
    estimate = launched.job(steps_of(STUDENT), workers=1, resources=RESOURCES)
    assert estimate.seconds == pytest.approx(2 * 10 * 2 * kernels * 1e-3, rel=1e-6)  # two groups a step
    assert estimate.bound == "launches"


def test_members_with_fewer_epochs_leave_and_a_resume_has_less_to_do():
    costs = costs_of(decode_core_ms={"packed": 0.0}, next_job_s=1e-9)
    longer = replace(STUDENT, kd=KDSpec(level="clip"), optim=replace(STUDENT.optim, epochs=6))
    both, one = (
        costs.job(steps_of(*recipes), workers=1, resources=RESOURCES) for recipes in ((STUDENT, longer), (longer,))
    )
    short = costs.job(steps_of(replace(STUDENT, kd=KDSpec(), teacher=None)), workers=1, resources=RESOURCES)
    assert both.seconds == pytest.approx(one.seconds + short.seconds, rel=0.01)
    resumed = costs.job(steps_of(longer), workers=1, resources=RESOURCES, resume_from=3)
    assert resumed.seconds == pytest.approx(one.seconds / 2, rel=0.01)


def test_memory_is_states_and_one_groups_activations():
    # Figures computed elsewhere for 8 students of a ResNet-152, 8 clips: 9.4 GB with the teacher's own workspace.
    data = DataSpec(name="toy")
    teacher = Recipe(data=data, model=ModelSpec(name="tsn_resnet152"), precision="bf16")
    students = [
        replace(teacher, model=ModelSpec(resolution=224), kd=KDSpec(level="pixel", weight=float(k)), teacher=teacher)
        for k in range(8)
    ]
    memory = costs_of().memory(steps_of(*students)) / 1e9
    assert memory == pytest.approx(8 * 0.335 + 0.117 + 8 * 0.69, rel=0.02)
    assert memory == pytest.approx(9.4, rel=0.13)


def test_an_imported_model_costs_a_test_and_no_training():
    data = DataSpec(name="toy")
    imported = Recipe(data=data, model=ModelSpec(name="tsn_resnet152"), checkpoint=__file__)
    costs = replace(costs_of(next_job_s=1e-9), clips=lambda step: ClipCounts(train=10**6, val=8))
    # Weights and gradients of 58.5 M parameters with 200 classes, and, of 8 clips of 16 frames, what an addition
    # of the first stage reads and writes: three times 256 maps of 56 x 56.
    largest = 3 * 8 * 16 * 256 * 56 * 56
    assert costs.memory(steps_of(imported)) == pytest.approx(4 * (2 * 58.5e6 + largest), rel=0.01)
    once = costs.job(steps_of(imported), workers=1, resources=RESOURCES).seconds
    often = replace(imported, eval=EvalSpec(views="10x3"))
    assert costs.job(steps_of(often), workers=1, resources=RESOURCES).seconds == pytest.approx(30 * once, rel=1e-6)
    longer = replace(imported, optim=OptimSpec(epochs=1000))
    assert costs.job(steps_of(longer), workers=1, resources=RESOURCES).seconds == once


@pytest.mark.parametrize(("memory_gb", "groups"), [(9.0, 1), (20.0, 2), (40.0, 4), (141.0, 8)])
def test_as_many_groups_go_in_a_pass_as_a_full_cohorts_memory_has_room_for(memory_gb, groups):
    # 8 students of 0.335 GB, the teacher's 0.117, and 5.5 GB of activations a group of 8 clips; 80 % may be full.
    data = DataSpec(name="toy")
    teacher = Recipe(data=data, model=ModelSpec(name="tsn_resnet152"), precision="bf16")
    student = replace(teacher, model=ModelSpec(resolution=224), kd=KDSpec(level="pixel"), teacher=teacher)
    costs = costs_of(memory_bytes=memory_gb * 1e9)
    assert costs.groups_per_pass(steps_of(student), beside=8, workers=1) == groups
    assert costs.groups_per_pass(steps_of(student), beside=8, workers=8) == 1  # a worker has no more
    assert costs_of(memory_bytes=None).groups_per_pass(steps_of(student), beside=8, workers=1) == 1


def test_profiles_are_found_by_the_names_that_devices_give_themselves(tmp_path):
    assert profile_name_of("NVIDIA H200") == "h200"
    assert profile_name_of("NVIDIA A100-SXM4-80GB") == "a100"
    assert profile_name_of("AMD EPYC 9V74") == "cpu"
    assert profile_name_of("NVIDIA GeForce RTX 4090") is None
    assert profile_name_of("NVIDIA H100 PCIe") is None
    assert set(shipped_profiles()) == {"cpu", "a100", "h100", "h200"}
    with pytest.raises(BadInput, match=r"the device 'h300' has no profile; choose cpu, a100, h100, h200, or write one"):
        load_profile("h300")
    (tmp_path / "outside.yaml").write_text("kind: gpu\n")
    with pytest.raises(BadInput, match=r"the device '\.\./outside' has no profile"):
        load_profile("../outside", folder=tmp_path / "devices")
    (tmp_path / "outside.yaml").unlink()
    (tmp_path / "._h200.yaml").write_bytes(b"\0\5\x16\7")  # what a Mac leaves beside a file
    assert profile_name_of("NVIDIA H200", folder=tmp_path) == "h200"
    (tmp_path / "h200.yaml").write_text("kind: gpu\nflops: {bf16: -1}\n")
    with pytest.raises(BadInput, match=r"h200\.yaml: "):
        load_profile("h200", folder=tmp_path)
