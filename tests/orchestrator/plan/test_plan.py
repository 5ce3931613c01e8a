import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.device_profiles import load_profile
from orchestrator.plan.plan import make_plan
from orchestrator.spec.identity import file_sha256, payload, step_id
from orchestrator.spec.steps import StepBuilder, StepStatus, build_steps
from orchestrator.spec.sweep import CohortSpec, Resources, load
from reskd.errors import BadInput
from reskd.recipe import Checkpoint, EvalSpec, KDSpec, ModelSpec
from reskd.runtime.execution import Execution
from reskd.training.cohort_key import check_shared
from tests.support.recipe_sweep import BASELINE, CLIP, DATA, OPTIM, PIXEL, TEACHER, manifest_of, recipe, sweep_of

DEMO = Path(__file__).parents[3] / "sweeps" / "demo.yaml"


def planned(sweep, status=None, **options):
    """Steps by row (or by model name, where they are in no row), and the plan; status is by row too."""
    steps = build_steps(sweep, manifest_of=manifest_of)
    rows = {step.cells[0][0] if step.cells else step.recipe.model.name: step.id for step in steps.values()}
    by_id = {rows[row]: found for row, found in (status or {}).items()}
    return rows, make_plan(sweep, steps, by_id, **options)


def verdicts_of(sweep, status=None, **options):
    rows, plan = planned(sweep, status, **options)
    return {row: plan.steps[step_id].verdict for row, step_id in rows.items()}


def jobs_of(sweep, status=None, **options):
    """Members by row, job by job in the plan's order."""
    rows, plan = planned(sweep, status, **options)
    names = {step_id: row for row, step_id in rows.items()}
    return [{names[member] for member in job.members} for job in plan.jobs]


def test_equal_recipes_are_one_step_whoever_asks():
    steps = build_steps(sweep_of(("a", PIXEL), ("b", PIXEL), ("teacher", TEACHER)), manifest_of=manifest_of)
    assert [step.cells for step in steps.values()] == [(("teacher", 0),), (("a", 0), ("b", 0))]
    teacher, student = steps.values()
    assert student.teacher_id == teacher.id
    expected = payload(TEACHER, manifest_sha256=manifest_of(DATA), teacher=None)
    assert (teacher.payload, teacher.full_id, teacher.id) == (expected, step_id(expected), step_id(expected)[:16])
    assert student.payload["teacher"] == teacher.full_id


def test_the_demo_trains_each_seed_in_four_jobs_after_its_teachers():
    sweep = load(DEMO)
    steps = build_steps(sweep, manifest_of=manifest_of)
    plan = make_plan(sweep, steps, {})
    # Per seed: three teachers and a baseline; nine rows with KD, of which two are one step.
    assert len(steps) == 3 * (3 + 1 + 8)
    assert sorted(len(job.members) for job in plan.jobs) == [1] * 6 + [4] * 3 + [6] * 3
    assert plan.counts == {"train": 12, "waiting": 24}
    # Both cores are one job's, so the seeds follow each other, and the first one's tables are complete early.
    assert [job.depends_on == () for job in plan.jobs] == [True, False, False, False] * 3
    assert [{steps[step_id].recipe.seed for step_id in job.members} for job in plan.jobs] == [
        {seed} for seed in (0, 1, 2) for _ in range(4)
    ]


def test_a_manifest_and_a_file_are_hashed_once_and_make_the_identity(tmp_path):
    weights, teacher = tmp_path / "w.pt", tmp_path / "t.pt"
    weights.write_bytes(b"w")
    teacher.write_bytes(b"t")
    asked = []
    student = replace(
        recipe(level="clip", teacher=Checkpoint(checkpoint=str(teacher))),
        model=ModelSpec(resolution=24, weights=str(weights)),
    )
    shorter = replace(student, data=replace(DATA, num_frames=2))
    steps = build_steps(sweep_of(("a", student), ("b", shorter)), manifest_of=lambda data: asked.append(data) or "m")
    step, _ = steps.values()
    assert len(asked) == 1
    assert step.payload["teacher"] == f"checkpoint:{file_sha256(teacher)}"
    assert step.payload["model"]["weights"] == f"sha256:{file_sha256(weights)}"
    assert (step.teacher_id, step.teacher_checkpoint) == (None, str(teacher))
    teacher.unlink()
    with pytest.raises(BadInput, match=r"t\.pt: cannot be read"):
        build_steps(sweep_of(("a", student)), manifest_of=manifest_of)


def test_students_wait_for_the_job_that_trains_their_teacher():
    sweep = sweep_of(("baseline", BASELINE), ("clip", CLIP), ("pixel", PIXEL))
    rows, plan = planned(sweep)
    first, second = plan.jobs
    assert set(first.members) == {rows["baseline"], rows["tsn_mini18"]}
    assert set(second.members) == {rows["clip"], rows["pixel"]}
    assert (first.depends_on, second.depends_on, second.teacher_id) == ((), (first.id,), rows["tsn_mini18"])
    assert [cell.verdict for cell in plan.cells] == ["train", "waiting", "waiting"]
    assert rows["tsn_mini18"] in plan.steps[rows["clip"]].reason


def test_a_damaged_step_is_left_alone_and_its_students_are_blocked():
    sweep = sweep_of(("baseline", BASELINE), ("clip", CLIP))
    damaged = StepStatus(state="damaged", reason="weights.pt: damaged; put a good copy back")
    rows, plan = planned(sweep, {"tsn_mini18": damaged})
    assert [cell.verdict for cell in plan.cells] == ["train", "blocked"]
    assert plan.steps[rows["tsn_mini18"]].verdict == "damaged"
    assert "weights.pt" in plan.steps[rows["clip"]].reason


def test_a_step_without_kd_rides_with_students_once_their_teacher_is_done():
    sweep = sweep_of(("baseline", BASELINE), ("clip", CLIP))
    assert jobs_of(sweep, {"tsn_mini18": StepStatus(state="done")}) == [{"baseline", "clip"}]


def test_riders_that_find_no_room_keep_a_job_of_their_own():
    sweep = sweep_of(
        *((f"plain{i}", recipe(10 + i)) for i in range(3)),
        *((f"kd{i}", recipe(10 + i, level="clip", teacher=TEACHER)) for i in range(3)),
        cohort=CohortSpec(max_members=4),
    )
    done = {"tsn_mini18": StepStatus(state="done")}
    assert sorted(map(len, jobs_of(sweep, done))) == [3, 3]


def test_without_cohorts_every_step_is_a_job():
    sweep = sweep_of(("baseline", BASELINE), ("clip", CLIP), ("pixel", PIXEL), cohort=CohortSpec(enabled=False))
    assert sorted(map(sorted, jobs_of(sweep))) == [["baseline"], ["clip"], ["pixel"], ["tsn_mini18"]]


@pytest.mark.parametrize(
    "other",
    [
        recipe(32, data=replace(DATA, num_frames=2)),
        recipe(32, data=replace(DATA, root="/elsewhere")),
        recipe(32, data=replace(DATA, max_damaged=0.5)),
        recipe(32, optim=replace(OPTIM, batch_size=32)),
        recipe(32, optim=replace(OPTIM, group_size=8)),
        recipe(32, seed=1),
        replace(recipe(32), precision="fp64"),
        recipe(32, level="clip", teacher=recipe(48), teacher_mode="eval"),
        recipe(32, level="clip", teacher=TEACHER, teacher_mode="batch"),
    ],
)
def test_steps_that_differ_in_what_a_cohort_shares_train_apart(other):
    done = {name: StepStatus(state="done") for name in ("tsn_mini18", "tsn_mini10")}
    # One manifest for both: the same clips in two folders are still read from two folders.
    steps = build_steps(sweep_of(("clip", CLIP), ("other", other)), manifest_of=lambda data: "the same")
    status = {step.id: done[step.recipe.model.name] for step in steps.values() if not step.cells}
    plan = make_plan(sweep_of(("clip", CLIP), ("other", other)), steps, status)
    assert [len(job.members) for job in plan.jobs] == [1, 1]


def test_the_verdicts_follow_the_store():
    sweep = sweep_of(("baseline", BASELINE), ("clip", CLIP), ("pixel", PIXEL))

    def status(teacher, **clip):
        return {"tsn_mini18": StepStatus(**teacher), "clip": StepStatus(**clip)}

    def verdicts(*found, **options):
        return list(verdicts_of(sweep, *found, **options).values())

    # In the order baseline, teacher, clip, pixel.
    assert verdicts() == ["train", "train", "waiting", "waiting"]
    assert verdicts(status({"state": "done"})) == ["train", "done", "train", "train"]
    assert verdicts(status({"state": "done"}, epochs=(3, 4))) == ["train", "done", "resume", "train"]
    assert verdicts(status({"state": "held", "holder": "me"})) == ["waiting", "held", "waiting", "waiting"]
    assert verdicts(status({"state": "failed"})) == ["train", "failed", "blocked", "blocked"]
    assert verdicts(status({"state": "failed"}, state="done")) == ["train", "failed", "done", "blocked"]
    assert verdicts(status({"state": "failed"}), retry_failed=True) == ["train", "train", "waiting", "waiting"]
    assert verdicts(status({"state": "done"}, state="failed")) == ["train", "done", "failed", "train"]
    assert verdicts(status({"state": "done"}, state="failed", epochs=(2,)), retry_failed=True) == [
        "train",
        "done",
        "resume",
        "train",
    ]


def test_reasons_name_the_teacher_the_holder_and_the_failure():
    sweep = sweep_of(("clip", CLIP))
    rows, plan = planned(sweep, {"tsn_mini18": StepStatus(state="failed", reason="loss is not finite")})
    assert rows["tsn_mini18"] in plan.cells[0].reason
    assert "loss is not finite" in plan.cells[0].reason
    rows, plan = planned(sweep, {"tsn_mini18": StepStatus(state="held", holder="ann on host3")})
    assert "ann on host3" in plan.cells[0].reason
    assert (plan.jobs[0].teacher_id, plan.jobs[0].depends_on) == (rows["tsn_mini18"], ())


def test_a_teacher_is_left_alone_when_no_student_waits_for_it():
    sweep = sweep_of(("clip", CLIP), ("pixel", PIXEL))
    settled = {"clip": StepStatus(state="done"), "pixel": StepStatus(state="failed")}
    assert verdicts_of(sweep, settled) == {"tsn_mini18": "unneeded", "clip": "done", "pixel": "failed"}
    in_a_row = sweep_of(("clip", CLIP), ("teacher", TEACHER))
    assert verdicts_of(in_a_row, {"clip": StepStatus(state="done")}) == {"teacher": "train", "clip": "done"}


def test_checkpoints_decide_who_resumes_together():
    sweep = sweep_of(*((name, recipe(10 + i)) for i, name in enumerate("abcdef")))
    status = {
        "a": StepStatus(epochs=(3, 4), workers=1),
        "b": StepStatus(epochs=(4, 5), workers=1),
        "c": StepStatus(epochs=(7, 8), workers=1),
        "d": StepStatus(epochs=(4, 5), workers=2),
        # Recorded workers bind only what there is to resume.
        "e": StepStatus(workers=4),
    }
    rows, plan = planned(sweep, status)
    found = {frozenset(job.members): (job.resume_from, job.workers) for job in plan.jobs}
    assert found == {
        frozenset({rows["a"], rows["b"]}): (4, 1),
        frozenset({rows["c"]}): (8, 1),
        frozenset({rows["d"]}): (5, 2),
        frozenset({rows["e"], rows["f"]}): (0, 1),
    }
    assert "after epoch 4 of 10" in plan.steps[rows["a"]].reason


def test_a_resume_computes_as_at_its_start_and_so_apart_from_others():
    resources = Resources(groups_per_pass="auto", gpus_per_worker=1, device="h200", compile=True)
    sweep = sweep_of(("a", BASELINE), ("b", recipe(32)), ("c", recipe(16)), resources=resources)
    before = Execution(groups_per_pass=2)
    _, plan = planned(sweep, {"a": StepStatus(epochs=(0, 4), workers=1, execution=before)})
    assert {len(job.members): job.execution for job in plan.jobs} == {
        1: before,
        2: Execution(groups_per_pass=4, compile=True),  # all that there are
    }


def test_a_resume_with_more_workers_than_allowed_is_refused():
    sweep = sweep_of(("a", BASELINE), resources=Resources(max_cpus=2))
    with pytest.raises(BadInput, match=r"'resources\.max_cpus' is 2, but step .* takes 4 workers x 1 cpus = 4"):
        planned(sweep, {"a": StepStatus(epochs=(1,), workers=4)})


def test_a_job_takes_its_workers_times_what_each_takes():
    sweep = sweep_of(("a", BASELINE), resources=Resources(workers=4, cpus_per_worker=3, gpus_per_worker=0.5))
    (job,) = planned(sweep)[1].jobs
    assert (job.workers, job.cpus, job.gpus) == (4, 12.0, 2.0)


def test_the_longest_chain_starts_first():
    long = recipe(optim=replace(OPTIM, epochs=40, batch_size=32))
    rows, plan = planned(sweep_of(("short", recipe(8, seed=1)), ("long", long), ("clip", CLIP)))
    # Costs go with epochs x pixels: teacher 14 x 64^2 (and a bigger model), long 40 x 24^2, short 10 x 8^2.
    assert [job.members[0] for job in plan.jobs] == [rows["tsn_mini18"], rows["long"], rows["clip"], rows["short"]]
    small, large = (planned(sweep_of(("a", recipe(pixels))))[1].jobs[0].cost for pixels in (24, 48))
    assert large > small
    whole, half = (
        planned(sweep_of(("a", BASELINE)), {"a": StepStatus(epochs=epochs)})[1].jobs[0].estimate
        for epochs in ((), (5,))
    )
    next_job_s = load_profile("cpu").next_job_s
    assert half.seconds - next_job_s == pytest.approx((whole.seconds - next_job_s) / 2, rel=0.01)


def test_the_plan_is_plain_values():
    sweep = sweep_of(("baseline", BASELINE), ("clip", CLIP))
    rows, plan = planned(sweep)
    read = json.loads(json.dumps(plan.to_dict()))
    assert [job["id"] for job in read["jobs"]] == [job.id for job in plan.jobs]
    assert read["counts"] == {"train": 2, "waiting": 1}
    assert {step["id"] for step in read["steps"]} == set(rows.values())
    assert [(cell["row"], cell["verdict"]) for cell in read["cells"]] == [("baseline", "train"), ("clip", "waiting")]


TEACHERS = st.builds(
    recipe,
    st.sampled_from([48, 64]),
    model=st.just("tsn_mini18"),
    optim=st.sampled_from([OPTIM, replace(OPTIM, batch_size=32)]),
    seed=st.integers(0, 1),
)
PLAIN = st.builds(
    recipe,
    st.sampled_from([16, 24, 64]),
    model=st.sampled_from(["tsn_mini10", "tsn_mini18"]),
    optim=st.sampled_from([OPTIM, replace(OPTIM, batch_size=32), replace(OPTIM, epochs=20)]),
    data=st.sampled_from([DATA, DATA, replace(DATA, root="/elsewhere")]),
    seed=st.integers(0, 1),
)
STUDENTS = st.builds(
    lambda plain, level, mode, teacher: replace(plain, kd=KDSpec(level=level, teacher_mode=mode), teacher=teacher),
    PLAIN,
    st.sampled_from(["clip", "frame", "pixel"]),
    st.sampled_from(["eval", "eval", "batch"]),
    TEACHERS | st.just(Checkpoint(checkpoint=__file__)),
)
STATUSES = st.builds(
    StepStatus,
    state=st.sampled_from(["absent", "absent", "absent", "done", "failed", "held"]),
    epochs=st.sampled_from([(), (), (1, 2), (2, 3), (3, 4)]),
    workers=st.sampled_from([None, 1, 2]),
)


@st.composite
def situations(draw):
    recipes = draw(st.lists(PLAIN | STUDENTS | TEACHERS, min_size=1, max_size=14))
    cohort = CohortSpec(enabled=draw(st.sampled_from([True, True, False])), max_members=draw(st.integers(1, 4)))
    sweep = sweep_of(*((f"row{index}", each) for index, each in enumerate(recipes)), cohort=cohort)
    steps = build_steps(sweep, manifest_of=manifest_of)
    status = {step_id: draw(STATUSES) for step_id in sorted(steps) if draw(st.booleans())}
    return sweep, steps, status, draw(st.booleans())


@given(situations())
def test_every_plan_keeps_the_rules(situation):
    sweep, steps, status, retry_failed = situation
    plan = make_plan(sweep, steps, status, retry_failed=retry_failed)
    has = {step_id: status.get(step_id, StepStatus()) for step_id in steps}

    placed = [member for job in plan.jobs for member in job.members]
    open_steps = {step_id for step_id, step in plan.steps.items() if step.verdict in ("train", "resume", "waiting")}
    assert sorted(placed) == sorted(open_steps)  # each in exactly one job, done and failed ones in none
    for cell in plan.cells:
        if has[cell.step_id].state == "absent" and cell.verdict != "blocked":
            assert cell.step_id in open_steps

    seen = set()
    for job in plan.jobs:
        members = [steps[member] for member in job.members]
        assert set(job.depends_on) <= seen
        seen.add(job.id)
        assert len(members) <= (sweep.cohort.max_members if sweep.cohort.enabled else 1)
        check_shared([member.recipe for member in members])  # what training itself refuses
        assert len({member.payload["manifest_sha256"] for member in members}) == 1
        assert len({member.payload["teacher"] for member in members if "teacher" in member.payload}) <= 1

        teacher_ids = {member.teacher_id for member in members} - {None}
        assert teacher_ids == ({job.teacher_id} - {None})
        assert not teacher_ids & set(job.members)
        for teacher_id in teacher_ids:
            assert has[teacher_id].state == "done" or teacher_id in open_steps or has[teacher_id].state == "held"
            assert (teacher_id in open_steps) == bool(job.depends_on)
        if any(member in {step.teacher_id for step in map(steps.get, open_steps)} for member in job.members):
            assert not teacher_ids  # who is waited for waits for nobody

        held = [set(has[member].epochs) for member in job.members]
        assert all(held) == any(held)
        assert not any(held) or job.resume_from == max(set.intersection(*held))
        assert all(has[member].workers in (None, job.workers) for member in job.members if has[member].epochs)


@given(situations())
def test_the_same_situation_gives_the_same_jobs_whatever_the_order_of_its_rows(situation):
    sweep, steps, status, retry_failed = situation
    plan = make_plan(sweep, steps, status, retry_failed=retry_failed)
    assert make_plan(sweep, steps, dict(reversed(status.items())), retry_failed=retry_failed) == plan
    backwards = replace(sweep, cells=sweep.cells[::-1])
    again = make_plan(backwards, build_steps(backwards, manifest_of=manifest_of), status, retry_failed=retry_failed)
    assert again.jobs == plan.jobs


@given(
    num_teachers=st.integers(0, 3),
    num_plain=st.integers(0, 9),
    num_students=st.integers(0, 9),
    limit=st.integers(1, 4),
    is_done=st.booleans(),
)
def test_jobs_are_as_few_as_they_can_be(num_teachers, num_plain, num_students, limit, is_done):
    teachers = [recipe(60 + i, model="tsn_mini18") for i in range(num_teachers)]
    students = [[recipe(8 + i, level="clip", teacher=teacher) for i in range(num_students)] for teacher in teachers]
    plain = [recipe(8 + i) for i in range(num_plain)]
    cells = [("plain", each) for each in plain] + [("kd", each) for group in students for each in group]
    if not cells:
        return
    sweep = sweep_of(
        *((f"{name}{index}", each) for index, (name, each) in enumerate(cells)), cohort=CohortSpec(max_members=limit)
    )
    steps = build_steps(sweep, manifest_of=manifest_of)
    status = {step.id: StepStatus(state="done") for step in steps.values() if is_done and not step.cells}
    taught = num_teachers * -(-num_students // limit)
    teachers_to_train = 0 if is_done or not num_students else num_teachers
    # Each job of students has room for riders; jobs with teachers are filled up before anyone rides.
    room = taught * limit - num_teachers * num_students
    first = -(-teachers_to_train // limit)
    left = max(0, num_plain - (first * limit - teachers_to_train) - room)
    assert len(make_plan(sweep, steps, status).jobs) == taught + first + -(-left // limit)


def test_an_id_that_stands_for_two_recipes_is_refused():
    (step,) = build_steps(sweep_of(("a", BASELINE)), manifest_of=manifest_of).values()
    other = replace(step, payload={**step.payload, "precision": "fp64"})
    builder = StepBuilder(manifest_of, steps={step.id: other})
    with pytest.raises(BadInput, match=f"step {step.id}: two different recipes have this id"):
        builder.add(BASELINE)


def test_data_sets_in_one_folder_with_other_annotation_files_have_manifests_of_their_own():
    asked = []
    others = [replace(DATA, **{name: "other.csv"}) for name in ("train", "val", "classes")]
    cells = [(str(number), recipe(data=data)) for number, data in enumerate([DATA, *others])]
    steps = build_steps(sweep_of(*cells), manifest_of=lambda data: asked.append(data) or str(len(asked)))
    assert asked == [DATA, *others]
    assert len(steps) == 4


def test_one_training_has_one_final_test_and_a_rows_goes_before_a_teachers():
    dense = replace(BASELINE, eval=EvalSpec(views="10x3"))
    with pytest.raises(
        BadInput, match=r"rows 'a' and 'b' .* val-f4-v1x1 and val-f4-v10x3; keep one.*test/val-f4-v10x3/"
    ):
        build_steps(sweep_of(("a", BASELINE), ("b", dense)), manifest_of=manifest_of)
    watched = replace(TEACHER, eval=EvalSpec(views="4x3", every=2))
    steps = build_steps(sweep_of(("a", PIXEL), ("teacher", watched), ("b", BASELINE)), manifest_of=manifest_of)
    assert next(step for step in steps.values() if step.cells == (("teacher", 0),)).recipe.eval.views == "4x3"
    assert len(build_steps(sweep_of(("a", BASELINE), ("b", BASELINE)), manifest_of=manifest_of)) == 1


def test_a_finished_step_whose_row_asks_for_another_test_says_which_command_makes_it():
    asked = replace(BASELINE, eval=EvalSpec(views="10x3", twice=True))
    done = StepStatus(state="done", done={"protocol": "val-f4-v1x1"})
    steps, plan = planned(sweep_of(("a", asked)), {"a": done})
    step_id = steps["a"]
    assert plan.cells[0].verdict == "done"
    assert plan.cells[0].reason == (
        "in the store, tested by val-f4-v1x1, but the sweep now asks for val-f4-v10x3-twice: run "
        f"`reskd eval {step_id} --views 10x3 --twice` and add a column test/val-f4-v10x3-twice/..."
    )
    _, plan = planned(sweep_of(("a", asked)), {"a": replace(done, done={"protocol": "val-f4-v10x3-twice"})})
    assert plan.cells[0].reason == "in the store"
