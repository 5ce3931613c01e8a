"""Cutting cohorts, estimates corrected by finished steps, and what is refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestrator.plan.cohort_split import split_cohorts
from orchestrator.plan.cost import UNCERTAINTY
from orchestrator.plan.cost_inputs import Asked, corrected, costs_of, num_devices
from orchestrator.plan.device_profiles import load_profile
from orchestrator.plan.plan import make_plan
from orchestrator.spec.steps import StepStatus, build_steps
from orchestrator.spec.sweep import CohortSpec, Resources
from reskd.errors import BadInput
from tests.support.recipe_sweep import PIXEL, manifest_of, sweep_of

STUDENTS = [(f"row{index}", replace(PIXEL, kd=replace(PIXEL.kd, weight=1.0 + index))) for index in range(6)]


def planned(*, devices, cohort=None, asked="h200", done=True, profile=None):
    sweep = sweep_of(*STUDENTS, cohort=cohort, resources=Resources(gpus_per_worker=1))
    steps = build_steps(sweep, manifest_of=manifest_of)
    status = {step.id: StepStatus(state="done") for step in steps.values() if done and not step.cells}
    costs = costs_of(sweep.resources, steps, {}, asked=Asked(device=asked))
    costs = replace(costs, profile=replace(costs.profile, **(profile or {})))
    return make_plan(sweep, steps, status, costs=costs, num_devices=devices)


def test_one_device_trains_one_cohort_and_more_devices_share_it():
    one, six = planned(devices=1), planned(devices=6)
    assert [len(job.members) for job in one.jobs] == [6]
    assert len(six.jobs) > 1
    assert sorted(member for job in six.jobs for member in job.members) == sorted(one.jobs[0].members)
    assert six.forecast.makespan_s < 0.95 * one.forecast.makespan_s
    assert six.forecast.device_hours > one.forecast.device_hours  # each part pays for the teacher
    assert planned(devices=6) == six


def member(name, seconds, teacher=None):
    step = SimpleNamespace(id=name, teacher_id=teacher, seconds=seconds)
    return SimpleNamespace(step=step)


def names_of_cuts(cohorts, *, num_devices, one_pass=0.0):
    """Members' names of each job; of those that are taught, each job pays for the teacher's pass."""

    def seconds(cohort):
        taught = any(member.step.teacher_id for member in cohort)
        return sum(member.step.seconds for member in cohort) + (one_pass if taught else 0.0)

    cut = split_cohorts(
        cohorts, seconds=seconds, devices=lambda cohort: 1.0, fits=lambda cohort: True, num_devices=num_devices
    )
    return sorted(sorted(member.step.id for member in cohort) for cohort in cut)


def test_a_cut_that_shortens_the_chain_is_made_and_one_beside_it_is_not():
    """Times by hand: 4 devices; a job of 12 s whose last job follows it, two students of 5 s each, beside one of 12."""
    teachers = (member("t", 4.0), member("a", 4.0), member("b", 4.0))
    students = (member("s", 5.0, "t"), member("u", 5.0, "t"))
    beside = (member("x", 6.0), member("y", 6.0))
    names = names_of_cuts([teachers, students, beside], num_devices=4)
    # The whole: 12 + 10 s. With the teacher alone 4 + 5 s, and nothing is cut that would not end it sooner.
    assert ["s"] in names
    assert ["u"] in names
    assert not any("t" in cohort and len(cohort) > 2 for cohort in names)


def test_the_jobs_before_the_longest_ones_are_cut_without_cutting_those():
    """Two seeds, 3 devices: 12 + 20 s; with the teachers alone 6 + 20, with students in halves of 15 s 6 + 15 + 15."""
    cohorts = []
    for seed in "12":
        cohorts.append((member(f"t{seed}", 6.0), member(f"a{seed}", 3.0), member(f"b{seed}", 3.0)))
        cohorts.append(tuple(member(f"{name}{seed}", 2.5, f"t{seed}") for name in "wxyz"))
    names = names_of_cuts(cohorts, num_devices=3, one_pass=10.0)
    students = [[f"{name}{seed}" for name in "wxyz"] for seed in "12"]
    assert names == sorted([["t1"], ["t2"], ["a1", "b1"], ["a2", "b2"], *students])


def test_fewer_larger_parts_are_taken_where_they_end_sooner():
    """Three cohorts of 14 s on 8 devices: 9 jobs of 10, 6 and 6 s end after 12 s, 6 jobs of 10 and 8 s after 10."""
    cohorts = [
        (member(f"a{seed}", 6.0, "done"), member(f"b{seed}", 2.0, "done"), member(f"c{seed}", 2.0, "done"))
        for seed in "123"
    ]
    names = names_of_cuts(cohorts, num_devices=8, one_pass=4.0)
    assert names == sorted([*[[f"a{seed}"] for seed in "123"], *[[f"b{seed}", f"c{seed}"] for seed in "123"]])


def test_a_sweep_may_forbid_the_cut():
    assert len(planned(devices=6, cohort=CohortSpec(split=False)).jobs) == 1


def test_a_cohort_that_does_not_fit_in_memory_is_cut_and_a_single_member_is_refused():
    whole = planned(devices=1).jobs[0].estimate.memory_bytes
    cut = planned(devices=1, profile={"memory_bytes": 0.9 * whole})
    assert len(cut.jobs) > 1
    assert cut.forecast.too_large == ()
    never = planned(devices=1, profile={"memory_bytes": 0.01 * whole})
    assert len(never.forecast.too_large) == 6
    with pytest.raises(BadInput, match=r"needs about .* GB of memory on h200; lower optim.group_size"):
        never.forecast.refuse_too_large(where="s.yaml")


def test_a_budget_below_the_estimate_refuses_with_the_estimate():
    found = planned(devices=1).forecast
    found.refuse_above(None, where="s.yaml")
    found.refuse_above(2 * found.device_hours, where="s.yaml")
    with pytest.raises(BadInput, match=r"s.yaml: about .* GPU-hours .* on h200, above the budget of 0; raise"):
        found.refuse_above(0, where="s.yaml")


def test_finished_jobs_correct_the_estimate_by_the_median_of_their_ratios():
    sweep = sweep_of(*STUDENTS, resources=Resources())
    steps = build_steps(sweep, manifest_of=manifest_of)
    costs = costs_of(sweep.resources, steps, {})
    assert (costs.device, costs.factor, costs.spread) == ("cpu", 1.0, UNCERTAINTY)
    records = {}
    for number, (step, ratio) in enumerate(zip(steps.values(), (2.0, 3.0, 5.0), strict=False)):
        alone = costs.job([step], workers=1, resources=sweep.resources).seconds - load_profile("cpu").next_job_s
        records[step.id] = {
            "device": "AMD EPYC", "device_s": ratio * alone, "workers": 1, "host": "a", "started_ms": number
        }  # fmt: skip
    records[next(reversed(steps))] = {
        "device": "NVIDIA H200",
        "device_s": 1.0,
        "workers": 1,
        "host": "b",
        "started_ms": 9,
    }
    found = corrected(costs, records, steps, resources=sweep.resources)
    assert found.factor == pytest.approx(3.0)
    assert found.num_corrected == 3
    assert found.spread == pytest.approx((2 / 3, 5 / 3))


def test_devices_are_as_asked_as_declared_or_enough_for_one_job():
    steps = build_steps(sweep_of(*STUDENTS), manifest_of=manifest_of)
    resources = Resources(workers=2, gpus_per_worker=1, max_gpus=16)
    costs = costs_of(resources, steps, {}, asked=Asked(device="a100"))
    assert num_devices(resources, costs) == 16
    assert num_devices(resources, costs, asked=Asked(devices=8)) == 8
    assert num_devices(replace(resources, max_gpus=None), costs) >= 2
