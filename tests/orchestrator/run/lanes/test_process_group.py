"""The process group of a lane's workers never ends under a job that trains."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import torch.distributed as dist

from orchestrator.run.lanes import process_group, worker
from tests.support.job_configs import config
from tests.support.open_sockets import waiting_sockets


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


def test_the_group_meets_at_its_nodes_own_address_and_nowhere_else() -> None:
    address, port = process_group.listen()
    ends = {"num_workers": 2, "timeout": timedelta(seconds=20)}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(process_group.meeting, address, port, is_first=True, **ends)
        second = process_group.meeting(address, port, is_first=False, **ends)
        first.result().set("from the first", "a word")
    assert second.get("from the first") == b"a word"
    assert [one for one in waiting_sockets(os.getpid()) if one.endswith(f":{port}")] == [
        f"{psutil.Process().name()} {address}:{port}"
    ]


def test_the_groups_connections_stay_on_loopback_where_it_meets_there() -> None:
    (name,) = [name for name, of in psutil.net_if_addrs().items() if any(one.address == "127.0.0.1" for one in of)]
    assert process_group.loopback_alone("127.0.0.1") == {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": f"={name}"}
    for address in ("192.0.2.7", "2001:db8::7"):
        assert process_group.loopback_alone(address) == {}
