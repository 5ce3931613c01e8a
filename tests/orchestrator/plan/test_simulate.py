"""Schedules against those worked out by hand, and what holds of every schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.simulate import Work, simulate
from reskd.errors import BadInput


def test_jobs_start_in_order_whenever_something_ends():
    jobs = [Work("a", 5, 1), Work("b", 3, 1), Work("c", 4, 1), Work("d", 2, 1)]
    schedule = simulate(jobs, num_devices=2)
    assert dict(schedule.spans) == {"a": (0, 5), "b": (0, 3), "c": (3, 7), "d": (5, 7)}
    assert (schedule.makespan, schedule.work, schedule.lower_bound, schedule.utilisation) == (7, 14, 7, 1)


def test_a_student_waits_for_its_teacher_and_a_later_job_goes_before_it():
    jobs = [Work("teacher", 4, 1), Work("student", 3, 1, after=("teacher",)), Work("other", 2, 1)]
    schedule = simulate(jobs, num_devices=2)
    assert dict(schedule.spans) == {"teacher": (0, 4), "other": (0, 2), "student": (4, 7)}
    assert schedule.critical_path == schedule.lower_bound == 7


def test_a_small_job_fills_the_gap_that_a_large_one_cannot():
    jobs = [Work("a", 4, 3), Work("large", 1, 2), Work("small", 2, 1)]
    schedule = simulate(jobs, num_devices=4)
    assert dict(schedule.spans) == {"a": (0, 4), "small": (0, 2), "large": (4, 5)}
    assert schedule.lower_bound == 4  # 16 device-seconds on 4 devices


def test_half_a_device_holds_two_jobs():
    schedule = simulate([Work(str(index), 1, 0.5) for index in range(4)], num_devices=1)
    assert schedule.makespan == 2


def test_a_job_larger_than_everything_is_refused():
    with pytest.raises(BadInput, match="job a takes 4 devices, but there are 2"):
        simulate([Work("a", 1, 4)], num_devices=2)


@st.composite
def graphs(draw):
    """Jobs of whole seconds and devices; each may wait for some of those that were drawn before it."""
    jobs = []
    for index in range(draw(st.integers(0, 12))):
        after = draw(st.sets(st.sampled_from([job.id for job in jobs]), max_size=3)) if jobs else set()
        seconds, devices = draw(st.integers(1, 9)), draw(st.integers(1, 4))
        jobs.append(Work(str(index), seconds, devices, after=tuple(sorted(after))))
    return draw(st.permutations(jobs)), draw(st.integers(4, 9))


@given(graphs())
def test_every_schedule_keeps_to_dependencies_capacity_and_the_lower_bound(drawn):
    jobs, num_devices = drawn
    schedule = simulate(jobs, num_devices=num_devices)
    spans = schedule.spans
    assert spans.keys() == {job.id for job in jobs}
    for job in jobs:
        assert spans[job.id][1] - spans[job.id][0] == job.seconds
        assert all(spans[parent][1] <= spans[job.id][0] for parent in job.after)
    for moment in {start for start, _ in spans.values()}:
        running = [job.devices for job in jobs if spans[job.id][0] <= moment < spans[job.id][1]]
        assert sum(running) <= num_devices
    assert schedule.makespan >= schedule.lower_bound - 1e-9
    assert schedule.makespan <= sum(job.seconds for job in jobs)  # something always runs
    assert 0 <= schedule.utilisation <= 1 + 1e-9


def test_the_same_jobs_never_take_longer_alone_on_a_thousand_devices_than_on_eight():
    jobs = [Work(str(index), 1 + index % 7, 1) for index in range(2000)]
    few, many = (simulate(jobs, num_devices=number) for number in (8, 1000))
    assert many.makespan < few.makespan
    assert few.makespan <= few.lower_bound + 7  # list scheduling: within one job of the bound
