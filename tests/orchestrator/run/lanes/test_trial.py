"""What Tune sees of a job while it trains. tests/orchestrator/run/test_run.py runs trials on a real Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.run.lanes.patience import Patience
from orchestrator.run.lanes.trial import JobTrial, Stalled, as_result
from orchestrator.store.run_records import JobProgress, MemberProgress, RunRecords
from orchestrator.store.store import Store
from tests.support.job_configs import config
from tests.support.unsteady_blobs import UnsteadyBlobs


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
    trial._records, trial._job, trial._epoch, trial._patience = records, job, 0, Patience(60)
    assert trial._new_epoch() is None
    for epoch in (1, 2):
        records.write_job(job.owner_id, job.id, progress(epoch))
        assert trial._new_epoch() == as_result(progress(epoch))
        assert trial._new_epoch() is None


class WithWorkers:
    """A lane whose workers have started, or not yet."""

    def __init__(self, *, has_workers: bool) -> None:
        self.has_workers = has_workers


@pytest.mark.parametrize(
    ("has_workers", "is_away", "stalls"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_a_job_that_shows_nothing_new_stalls_unless_it_cannot_show_it(
    tmp_path: Path, has_workers: bool, is_away: bool, stalls: bool
) -> None:
    blobs = UnsteadyBlobs(tmp_path)
    records, job, now = RunRecords(Store(tmp_path, blobs)), config("a"), [0.0]
    trial = JobTrial.__new__(JobTrial)
    trial._records, trial._job, trial._epoch = records, job, 0
    trial._patience = Patience(60, clock=lambda: now[0])
    trial._lane = WithWorkers(has_workers=has_workers)  # type: ignore[assignment]
    records.write_job(job.owner_id, job.id, progress(1))
    assert trial._new_epoch() is not None
    blobs.is_away = is_away
    for now[0] in (50.0, 100.0):
        if now[0] == 100 and stalls:
            with pytest.raises(Stalled, match="epoch 1 of 9"):
                trial._new_epoch()
        else:
            assert trial._new_epoch() is None
