"""The process group of a lane's workers never ends under a job that trains."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

from orchestrator.run.lanes import process_group, worker
from tests.support.job_configs import config


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(process_group, "in_use", threading.Lock())
    monkeypatch.setattr(worker, "in_use", process_group.in_use)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


class Worker:
    """A worker whose job trains until it may end, and then notes whether its group is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trains, self.may_end, self.had_group = threading.Event(), threading.Event(), list[bool]()
        monkeypatch.setattr(worker, "train", self._train)
        monkeypatch.setattr(worker.ray.train, "report", lambda report: None)
        self._thread = threading.Thread(target=worker.serve, daemon=True)
        self._thread.start()
        worker.hand_over(config("one"))

    def _train(self, job: object) -> None:
        self.trains.set()
        self.may_end.wait(10)
        self.had_group.append(dist.is_initialized())

    def end(self) -> None:
        self.may_end.set()
        worker.hand_over(None)
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_the_group_of_a_job_that_trains_stays(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Worker(monkeypatch)
    assert here.trains.wait(10)
    process_group.leave()  # a neighbour was killed
    here.end()
    assert here.had_group == [True]
    process_group.leave()
    assert not dist.is_initialized()


def test_no_job_begins_once_the_group_has_ended(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    process_group.leave()
    here = Worker(monkeypatch)
    assert not here.trains.wait(0.3)
    process_group.in_use.release()  # or the thread would wait for ever; a real worker is ended by Ray
    here.end()
