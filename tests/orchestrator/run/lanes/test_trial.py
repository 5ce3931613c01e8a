"""What Tune sees of a job while it trains. tests/orchestrator/run/test_run.py runs trials on a real Ray."""

from __future__ import annotations

from pathlib import Path

from orchestrator.run.lanes.trial import JobTrial, as_result
from orchestrator.store.run_records import JobProgress, MemberProgress, RunRecords
from orchestrator.store.store import Store
from tests.support.job_configs import config


def progress(epoch: int) -> JobProgress:
    members = {"s1": MemberProgress(loss=0.5), "s2": MemberProgress(loss=0.25, accuracy=0.75)}
    return JobProgress(phase="training", epoch=epoch, num_epochs=9, clips_per_s=30.0, members=members)


def test_a_result_has_the_numbers_that_are_known() -> None:
    assert as_result(progress(3)) == {
        "epoch": 3,
        "num_epochs": 9,
        "clips_per_s": 30.0,
        "loss/s1": 0.5,
        "loss/s2": 0.25,
        "accuracy/s2": 0.75,
    }


def test_an_epoch_is_a_result_once(tmp_path: Path) -> None:
    records, job = RunRecords(Store(tmp_path)), config("a")
    trial = JobTrial.__new__(JobTrial)  # without Ray, which its constructor asks for its node
    trial._records, trial._job, trial._epoch = records, job, 0
    assert trial._new_epoch() is None
    for epoch in (1, 2):
        records.write_job(job.owner_id, job.id, progress(epoch))
        assert trial._new_epoch() == as_result(progress(epoch))
        assert trial._new_epoch() is None
