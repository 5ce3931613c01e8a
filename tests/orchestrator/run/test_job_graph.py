"""The graph inside Tune, asked as Tune asks it, against a real store."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from orchestrator.plan.job import Job, job_id
from orchestrator.run.job_graph import Capacity, GraphSearcher
from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.store.lease import Leases
from orchestrator.store.lease_owner import Owner
from orchestrator.store.store import Store
from tests.support.job_configs import config
from tests.support.unsteady_blobs import UnsteadyBlobs


def job(name: str, *, teacher: str | None = None, members: tuple[str, ...] = (), cpus: float = 1) -> Job:
    return Job(
        id=name,
        members=members or (f"{name}-step",),
        teacher_id=teacher,
        teacher_checkpoint=None,
        depends_on=(),
        resume_from=0,
        workers=1,
        cpus=cpus,
        gpus=0,
        cost=1,
    )


def given(graph: GraphSearcher, trial: str) -> str:
    """Id of the job that a trial is given."""
    found: JobConfig = graph.suggest(trial)["job"]
    return found.id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def searcher(store: Store, *jobs: Job, cpus: float = 2) -> GraphSearcher:
    configs = {job.id: config(job.id, *job.members) for job in jobs}
    return GraphSearcher(jobs, store=store, capacity=Capacity(cpus=cpus, gpus=0), configs=configs)


def finish(store: Store, step_id: str) -> None:
    store.finish(step_id, {}, {})


def test_a_student_starts_when_its_teacher_is_done_in_the_store(store: Store) -> None:
    graph = searcher(store, job("teacher"), job("student", teacher="teacher-step"))
    assert given(graph, "t1") == "teacher"
    assert graph.suggest("t2") is None
    finish(store, "teacher-step")  # the job still runs another member
    assert given(graph, "t2") == "student"


def test_jobs_start_while_their_workers_fit(store: Store) -> None:
    graph = searcher(store, job("a", cpus=2), job("b", cpus=1), job("c", cpus=1), cpus=3)
    assert given(graph, "1") == "a"
    assert given(graph, "2") == "b"
    assert graph.suggest("3") is None
    finish(store, "a-step")
    graph.on_trial_complete("1")
    assert given(graph, "3") == "c"


def test_students_of_a_failed_teacher_never_start_and_the_rest_does(store: Store) -> None:
    graph = searcher(store, job("teacher"), job("student", teacher="teacher-step"), job("other"), cpus=1)
    graph.suggest("1")
    store.fail("teacher-step", {"reason": "diverged"})
    graph.on_trial_complete("1")
    assert given(graph, "2") == "other"
    finish(store, "other-step")
    graph.on_trial_complete("2")
    assert graph.suggest("3") == Searcher.FINISHED
    assert graph.states == {"teacher": "failed", "student": "blocked", "other": "done"}


def test_students_of_a_damaged_teacher_never_start(store: Store) -> None:
    finish(store, "teacher-step")
    graph = searcher(store, job("student", teacher="teacher-step"))
    assert given(graph, "1") == "student"
    store.note_damage("teacher-step", "weights.pt: damaged; put a good copy back")  # by the student's workers
    graph.on_trial_complete("1", error=True)
    assert graph.suggest("2") == Searcher.FINISHED
    assert graph.states == {"student": "blocked"}


def test_a_job_that_ends_with_unfinished_steps_is_tried_once_more_and_then_given_up(store: Store) -> None:
    graph = searcher(store, job("teacher"), job("student", teacher="teacher-step"))
    for trial in ("1", "2"):
        assert given(graph, trial) == "teacher"
        graph.on_trial_complete(trial, error=True)
    assert graph.suggest("3") == Searcher.FINISHED
    assert graph.states == {"teacher": "failed", "student": "blocked"}


def test_one_failed_member_fails_its_job_only_after_the_others_have_finished(store: Store) -> None:
    graph = searcher(store, job("cohort", members=("good", "bad")))
    graph.suggest("1")
    store.fail("bad", {"reason": "nan"})
    graph.on_trial_complete("1", error=True)  # a worker died before `good` was done
    assert given(graph, "2") == "cohort"
    finish(store, "good")
    graph.on_trial_complete("2")
    assert graph.states == {"cohort": "failed"}


def test_a_student_whose_teacher_another_run_has_left_unfinished_is_blocked(store: Store) -> None:
    graph = searcher(store, job("student", teacher="elsewhere"))
    leases = Leases()
    leases.take(store.lease_path("elsewhere"))
    assert graph.suggest("1") is None
    leases.release()
    assert graph.suggest("1") == Searcher.FINISHED
    assert graph.states == {"student": "blocked"}


def test_a_student_of_a_teacher_whose_run_stands_still_elsewhere_is_blocked(store: Store) -> None:
    graph = searcher(store, job("student", teacher="elsewhere"))
    graph._watch.stale_s = 0.3
    dead = Leases(replace(Owner.this_process(), id="dead", space="another machine"), beat_s=100)
    dead.take(store.lease_path("elsewhere"))
    assert graph.suggest("1") is None
    time.sleep(0.4)
    assert graph.suggest("1") == Searcher.FINISHED
    dead.release()


def test_a_stop_ends_a_run_that_waits_for_another(store: Store) -> None:
    stopped: list[bool] = []
    jobs = [job("student", teacher="elsewhere")]
    leases = Leases()
    leases.take(store.lease_path("elsewhere"))
    graph = GraphSearcher(
        jobs, store=store, capacity=Capacity(cpus=2, gpus=0), configs={}, should_stop=lambda: bool(stopped)
    )
    assert graph.suggest("1") is None
    stopped.append(True)
    assert graph.suggest("1") == Searcher.FINISHED
    leases.release()


def test_a_student_of_a_teacher_that_another_run_has_finished_starts(store: Store) -> None:
    graph = searcher(store, job("student", teacher="elsewhere"), job("own"), job("taught", teacher="own-step"))
    finish(store, "elsewhere")  # by another run, which gave its lease back
    assert given(graph, "1") == "student"
    assert given(graph, "2") == "own"
    for trial, step in (("1", "student-step"), ("2", "own-step")):
        finish(store, step)
        graph.on_trial_complete(trial)
    assert given(graph, "3") == "taught"


def test_gpus_are_counted_like_cpus() -> None:
    one = replace(job("a"), gpus=1)
    assert Capacity(cpus=8, gpus=1).fits(one, [])
    assert not Capacity(cpus=8, gpus=1).fits(one, [one])


def test_a_job_that_runs_out_of_memory_is_halved_until_its_members_fit(store: Store) -> None:
    members = ("a", "b", "c")
    graph = searcher(store, job("wide", members=members), job("student", teacher="c"), cpus=1)
    graph.suggest("1")
    finish(store, "a")
    for step_id in ("b", "c"):
        store.fail(step_id, {"reason": "out of memory beside 1 others", "together": 2})
    assert graph._is_blocked(graph.jobs["student"]) is False  # its teacher goes on in a smaller job
    graph.on_trial_complete("1")
    assert graph.states["wide"] == "split"
    halves = graph.parts["wide"]
    assert [half.members for half in halves] == [("b",), ("c",)]
    assert [half.id for half in halves] == [job_id(["b"]), job_id(["c"])]
    for trial, half in zip(("2", "3"), halves, strict=True):
        part = graph.suggest(trial)["job"]
        assert (part.id, [member.step_id for member in part.members]) == (half.id, list(half.members))
        assert store.failure(half.members[0]) is None
        finish(store, half.members[0])
        graph.on_trial_complete(trial)
    assert given(graph, "4") == "student"


def test_a_member_that_runs_out_of_memory_alone_is_a_failure(store: Store) -> None:
    graph = searcher(store, job("one", members=("a",)))
    graph.suggest("1")
    store.fail("a", {"reason": "does not fit"})
    graph.on_trial_complete("1")
    assert graph.states == {"one": "failed"}


def test_an_outage_of_the_store_delays_a_run_and_changes_nothing_else(tmp_path: Path) -> None:
    blobs = UnsteadyBlobs(tmp_path)
    store = Store(tmp_path, blobs)
    told: list[tuple[str, str]] = []
    jobs = [job("teacher"), job("student", teacher="teacher-step")]
    graph = GraphSearcher(
        jobs,
        store=store,
        capacity=Capacity(cpus=2, gpus=0),
        configs={job.id: config(job.id, *job.members) for job in jobs},
        on_change=lambda change: told.append((change.job_id, change.state)),
    )
    assert given(graph, "1") == "teacher"
    finish(store, "teacher-step")
    blobs.is_away = True
    graph.on_trial_complete("1")
    for _ in range(3):
        assert graph.suggest("2") is None
    assert graph.attempts == {"teacher": 1, "student": 0}
    blobs.is_away = False
    assert given(graph, "2") == "student"
    finish(store, "student-step")
    graph.on_trial_complete("2")
    assert graph.suggest("3") == Searcher.FINISHED
    assert told == [("teacher", "running"), ("teacher", "done"), ("student", "running"), ("student", "done")]


def test_the_error_of_the_last_trial_is_why_a_job_is_given_up(store: Store) -> None:
    told: list[str] = []
    graph = searcher(store, job("a"))
    graph._on_change = lambda change: told.append(change.reason) if change.state == "failed" else None
    for trial, error in (("1", "first"), ("2", "second")):
        given(graph, trial)
        graph.on_trial_complete(trial, error=True)
        graph.note_error(trial, error)  # as Tune does, after the end
    assert told[-1] == "second"
    assert graph.reasons == {"a": "second"}


def test_a_job_whose_step_another_run_has_taken_is_not_tried_again(store: Store) -> None:
    graph = searcher(store, job("a"))
    given(graph, "1")
    other = Leases()
    other.take(store.lease_path("a-step"))
    graph.on_trial_complete("1", error=True)
    assert graph.states == {"a": "failed"}
    assert str(other.owner) in graph.reasons["a"]
    assert graph.suggest("2") == Searcher.FINISHED
    other.release()
