"""Where a job is, from the words of its training to the store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from orchestrator.run.lanes.reporter import Reporter
from orchestrator.store.run_records import JobProgress, RunRecords
from orchestrator.store.store import Store
from reskd.blobs import FolderBlobs
from reskd.training.fit_progress import FitProgress
from tests.support.job_configs import config

JOB = config("job-a", "5tep", "0ther")
METRIC = JOB.members[0].recipe.eval.metric


def word(**facts: object) -> FitProgress:
    known = {"phase": "training", "epoch": 2, "num_epochs": 3, "done": 4, "total": 9, "clips_per_s": 35.0, **facts}
    return FitProgress(**known)  # type: ignore[arg-type]


def wait_for(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("waited too long")


def now(store: Store) -> JobProgress | None:
    return RunRecords(store).jobs(JOB.owner_id).get(JOB.id)


def test_the_newest_word_is_in_the_store_while_the_job_trains_and_not_after_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.start("5tep", {}, afresh=True)
    store.save("5tep", 1, {}, {f"val/{METRIC}": 0.5})
    with Reporter(store, JOB, JOB.members, every_s=0.01) as report:
        report(word(done=3))
        report(word(losses={"5tep": 0.25}))
        wait_for(lambda: (found := now(store)) is not None and found.done == 4)
        found = now(store)
        assert found is not None
        assert (found.phase, found.epoch, found.num_epochs, found.total) == ("training", 2, 3, 9)
        assert (found.members["5tep"].loss, found.members["0ther"].loss) == (0.25, None)
        assert found.members["5tep"].accuracy == 0.5, "from the epoch that it resumes from"
        report(word(epoch=3, metrics={"5tep": {METRIC: 0.75}}))
        wait_for(lambda: (found := now(store)) is not None and found.members["5tep"].accuracy == 0.75)
    assert now(store) is None


def test_a_store_that_takes_nothing_does_not_disturb_the_training(tmp_path: Path) -> None:
    refused = threading.Event()

    class Full(FolderBlobs):
        def write(self, key: str, content: bytes) -> None:
            refused.set()
            raise OSError(28, "No space left on device", key)

    store = Store(tmp_path, Full(tmp_path))
    with Reporter(store, JOB, JOB.members, every_s=0.01) as report:
        report(word())
        assert refused.wait(5)
        report(word(done=5))
    assert now(store) is None
