from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.cost import JobEstimate
from orchestrator.plan.job import Job
from orchestrator.plan.order import in_order, works_of
from orchestrator.plan.simulate import simulate


def job(name, seconds, *, devices=1.0, after=()):
    """A job of one step, whose id is the job's."""
    estimate = JobEstimate(
        seconds=seconds, device_seconds=seconds * devices, memory_bytes=0, step_ms=1.0, bound="compute"
    )
    return Job(
        id=name,
        members=(name,),
        teacher_id=None,
        teacher_checkpoint=None,
        depends_on=tuple(after),
        resume_from=0,
        workers=1,
        cpus=1,
        gpus=0,
        cost=seconds,
        estimate=estimate,
    )


def names(jobs, seeds, num_devices):
    return [one.id for one in in_order(jobs, seeds=seeds, num_devices=num_devices)]


TWO_SEEDS = [
    job("teacher of 0", 5),
    job("teacher of 1", 9),
    job("student of 0", 2, after=["teacher of 0"]),
    job("student of 1", 3, after=["teacher of 1"]),
]
SEEDS = {"student of 0": 0, "student of 1": 1}


def test_on_one_device_the_first_seed_is_completed_first():
    assert names(TWO_SEEDS, SEEDS, 1) == ["teacher of 0", "student of 0", "teacher of 1", "student of 1"]


def test_on_two_devices_the_longest_chain_goes_first_where_seed_by_seed_would_take_longer():
    # By chains: 0-6 a, 6-9 c beside 0-4 b, 4-8 d: 9 seconds. By seeds b and d come first: a runs from 4 to 10.
    jobs = [job("a", 6), job("b", 4), job("c", 3, after=["a"]), job("d", 4)]
    assert names(jobs, {"b": 0, "d": 0, "c": 1}, 2) == ["a", "b", "d", "c"]
    assert names(jobs, {"b": 0, "d": 0, "c": 1}, 1) == ["b", "d", "a", "c"]


def test_a_teacher_comes_as_early_as_the_first_student_that_waits_for_it():
    jobs = [job("shared teacher", 1), job("other", 9), job("late", 2, after=["shared teacher"])]
    assert names(jobs, {"late": 0, "other": 1}, 1) == ["shared teacher", "late", "other"]


@st.composite
def cases(draw):
    jobs, seeds = [], {}
    for number in range(draw(st.integers(1, 9))):
        after = draw(st.lists(st.sampled_from([one.id for one in jobs]), max_size=1)) if jobs else []
        jobs.append(job(f"job {number}", draw(st.integers(1, 9)), devices=draw(st.sampled_from([1, 2])), after=after))
        if draw(st.booleans()):
            seeds[f"job {number}"] = draw(st.integers(0, 3))
    return draw(st.permutations(jobs)), seeds, draw(st.integers(2, 4))


@given(cases())
def test_parents_come_first_and_seeds_never_make_the_schedule_longer(case):
    jobs, seeds, num_devices = case

    def makespan(ordered):
        return simulate(works_of(ordered, num_devices=num_devices), num_devices=num_devices).makespan

    ordered = in_order(jobs, seeds=seeds, num_devices=num_devices)
    place = {one.id: number for number, one in enumerate(ordered)}
    assert all(place[parent] < place[one.id] for one in jobs for parent in one.depends_on)
    assert makespan(ordered) <= makespan(in_order(jobs, seeds={}, num_devices=num_devices)) + 1e-6
    assert ordered == in_order(jobs[::-1], seeds=seeds, num_devices=num_devices)
