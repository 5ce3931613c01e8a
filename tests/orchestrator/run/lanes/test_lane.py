"""A lane that trains job after job, with a thread of the test in place of Ray Train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.run.lanes.lane import Lane, LaneClosed, Shape
from orchestrator.run.lanes.worker import hand_over
from tests.support.job_configs import config

WAIT_S = 10.0
SHAPE = Shape(num_workers=2, cpus_per_worker=1, gpus_per_worker=0)


class Workers:
    """A set of workers that keeps the orders it gets."""

    def __init__(self) -> None:
        self.orders: SimpleQueue[JobConfig | None] = SimpleQueue()

    def execute_async(self, function: Callable[..., None], job: JobConfig | None) -> None:
        assert function is hand_over
        self.orders.put(job)

    def next_order(self) -> JobConfig | None:
        return self.orders.get(timeout=WAIT_S)


@contextmanager
def in_turn(lane: Lane) -> Iterator[Workers]:
    """Workers from their start to their end, as Train tells a lane of them."""
    workers = Workers()
    lane.workers_started(workers)
    yield workers
    lane.workers_ended()


def serving(lane: Lane) -> None:
    """Workers that end each job at once, until they are told to end."""
    with in_turn(lane) as workers:
        while (job := workers.next_order()) is not None:
            lane.job_ended(job.id)


def test_one_set_of_workers_trains_the_jobs_one_after_another_and_ends_when_the_lane_closes() -> None:
    starts: list[Lane] = []

    def run(lane: Lane) -> None:
        starts.append(lane)
        serving(lane)

    lane = Lane(SHAPE, run)
    for name in ("first", "second", "third"):
        assert lane.give(config(name))
        assert lane.wait_for_end(WAIT_S)
    lane.close()
    assert starts == [lane]
    assert not lane.give(config("fourth"))


def test_a_wait_that_is_over_before_the_job_says_so_and_can_go_on() -> None:
    may_end: SimpleQueue[bool] = SimpleQueue()

    def run(lane: Lane) -> None:
        with in_turn(lane) as workers:
            job = workers.next_order()
            assert job is not None
            may_end.get(timeout=WAIT_S)
            lane.job_ended(job.id)
            assert workers.next_order() is None

    lane = Lane(SHAPE, run)
    lane.give(config("first"))
    assert not lane.wait_for_end(0.01)
    may_end.put(True)
    assert lane.wait_for_end(WAIT_S)
    lane.close()


def test_workers_that_are_started_again_get_the_job_that_was_under_way_and_no_other() -> None:
    again: SimpleQueue[Workers] = SimpleQueue()

    def run(lane: Lane) -> None:
        with in_turn(lane) as workers:
            job = workers.next_order()
            assert job is not None
            lane.job_ended(job.id)
            assert workers.next_order() is not None
        with in_turn(lane) as workers:
            again.put(workers)
            lane.job_ended("first")  # late: of workers that are gone
            lane.job_ended("second")
            assert workers.next_order() is not None  # the second job, a second time
            assert workers.next_order() is None

    lane = Lane(SHAPE, run)
    lane.give(config("first"))
    assert lane.wait_for_end(WAIT_S)
    lane.give(config("second"))
    assert lane.wait_for_end(WAIT_S)
    lane.close()
    assert again.get(timeout=WAIT_S).orders.empty()


def test_workers_that_start_again_between_two_jobs_wait_for_the_next_one() -> None:
    first_has_ended: SimpleQueue[bool] = SimpleQueue()
    got_nothing: SimpleQueue[bool] = SimpleQueue()

    def run(lane: Lane) -> None:
        with in_turn(lane) as workers:
            assert workers.next_order() is not None
            lane.job_ended("first")
            first_has_ended.get(timeout=WAIT_S)
        with in_turn(lane) as workers:
            got_nothing.put(workers.orders.empty())
            job = workers.next_order()
            assert job is not None
            lane.job_ended(job.id)
            assert workers.next_order() is None

    lane = Lane(SHAPE, run)
    lane.give(config("first"))
    assert lane.wait_for_end(WAIT_S)
    first_has_ended.put(True)
    assert got_nothing.get(timeout=WAIT_S), "the job that had ended was handed over again"
    lane.give(config("second"))
    assert lane.wait_for_end(WAIT_S)
    lane.close()


def test_an_error_of_the_workers_is_raised_where_the_job_is_waited_for_and_closes_the_lane() -> None:
    def run(lane: Lane) -> None:
        with in_turn(lane) as workers:
            workers.next_order()
        raise OSError("no worker is left")

    lane = Lane(SHAPE, run)
    lane.give(config("first"))
    with pytest.raises(OSError, match="no worker is left"):
        assert lane.wait_for_end(WAIT_S)
    assert not lane.give(config("first"))


def test_workers_that_end_by_themselves_in_a_job_are_an_error() -> None:
    def run(lane: Lane) -> None:
        with in_turn(lane) as workers:
            workers.next_order()

    lane = Lane(SHAPE, run)
    lane.give(config("first"))
    with pytest.raises(LaneClosed):
        assert lane.wait_for_end(WAIT_S)


def test_a_lane_without_a_job_gives_its_workers_back_after_a_while_and_one_with_a_job_does_not() -> None:
    has_ended: SimpleQueue[bool] = SimpleQueue()

    def run(lane: Lane) -> None:
        serving(lane)
        has_ended.put(True)

    lane = Lane(SHAPE, run, idle_s=0.05)
    lane.give(config("first"))
    lane.close()  # without effect: the job has not ended yet
    assert lane.wait_for_end(WAIT_S)
    assert has_ended.get(timeout=WAIT_S)
    assert not lane.give(config("second"))
