"""Share and time left of a run, against sums written out."""

from __future__ import annotations

import pytest

from orchestrator.plan.time_left import PRIOR_S, pace_of, share_of
from orchestrator.store.run_records import JobProgress
from tests.support.watched_runs import ended, job, run, training


@pytest.mark.parametrize(
    ("facts", "resume_from", "share"),
    [
        ({"epoch": 3, "done": 5, "total": 20}, 0, (2 + 5 / 20) / 10),
        ({"epoch": 3, "done": 5, "total": 20}, 1, (1 + 5 / 20) / 9),  # of the epochs that were left
        ({"epoch": 3, "done": 1, "total": 7, "phase": "validation"}, 0, 3 / 10),
        ({"epoch": 10, "done": 1, "total": 7, "phase": "test"}, 0, 1),
        ({"epoch": 2, "done": 20, "total": 20}, 4, 0),  # workers that were started again may begin earlier
        ({"epoch": 0, "num_epochs": 0, "done": 1, "total": 7, "phase": "test"}, 0, 0),  # an imported model
    ],
)
def test_the_share_of_a_job_is_that_of_its_epochs(facts: dict[str, int], resume_from: int, share: float) -> None:
    one = job("a", state="running", resume_from=resume_from)
    assert share_of(one, training(one, **facts)) == pytest.approx(share)


def test_before_anything_has_run_the_estimates_decide_and_chains_count_whole() -> None:
    apart = run(job("a"), job("b"), num_devices=2.0)
    chain = run(job("a"), job("b", after=("a",)), num_devices=2.0)
    assert (pace_of(apart, {}).share, pace_of(apart, {}).left_s) == (0, 100)
    assert pace_of(chain, {}).left_s == 200


def test_what_the_jobs_have_taken_corrects_what_is_left() -> None:
    done, running, waiting = ended(job("a", cost_s=60.0)), job("b", state="running"), job("c")
    found = pace_of(run(done, running, waiting), {"b": training(running, epoch=6, done=0, spent_s=20.0)})
    slower = (PRIOR_S + 30 + 20) / (PRIOR_S + 60 + 50)
    assert found.share == pytest.approx((60 + 50) / 260)
    assert found.left_s == pytest.approx(slower * (50 + 100))


def test_a_job_that_failed_leaves_nothing_to_do_and_one_that_was_split_is_its_parts() -> None:
    failed = ended(job("a"), "failed")
    parts = [job("b1", cost_s=50.0), job("b2", cost_s=50.0)]
    found = pace_of(run(failed, ended(job("b"), "split"), *parts), {})
    assert found.share == pytest.approx(100 / 200)
    assert found.left_s == pytest.approx(100)


def test_a_run_of_which_nothing_is_left_has_no_time_left() -> None:
    found = pace_of(run(ended(job("a"))), {"a": JobProgress()})
    assert (found.share, found.left_s) == (1, 0)
