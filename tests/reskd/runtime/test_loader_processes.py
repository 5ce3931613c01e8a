"""An item at which loader processes crash or hang is lost, and the others come. A process that is killed or has no room
ends in an error with the item's name; a slow one does not."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reskd.errors import LoaderLost
from reskd.runtime.handover import Empty, has_anonymous_memory
from reskd.runtime.handover import empty as in_own_memory
from reskd.runtime.loader_errors import refuse_loss
from reskd.runtime.loader_processes import LoaderProcesses

BATCHES = [[0, 1], [2, 3], [4, 5], [6, 7]]
WITHOUT_FIVE = [[0, 1], [2, 3], [4, 99], [6, 7]]
STILL_S = 0.7


class Numbers(Dataset[int]):
    """Item i is i. Item 5 does something else first, in its loader process, and is 99 when it is lost."""

    def __init__(self, at_five: Callable[[], object]) -> None:
        self.at_five = at_five
        self.on_read: Callable[[int], None] | None = None
        self.lost: dict[int, str] = {}

    def lose(self, number: int, reason: str) -> None:
        self.lost[number] = reason

    def __getitem__(self, number: int) -> int:
        assert self.on_read is not None
        self.on_read(number)
        if number in self.lost:
            return 99
        if number == 5:
            self.at_five()
        return number

    def path(self, number: int) -> Path:
        return Path(f"/videos/{number}.mp4")

    def collate(self, items: Sequence[int], *, empty: Empty = in_own_memory) -> Tensor:
        group = empty([len(items), 10_000])
        group[:] = torch.tensor(items)[:, None]
        return group


def load(
    at_five: Callable[[], object] | Numbers,
    *,
    num_processes: int = 2,
    anonymous: bool | None = None,
    still_s: float = 30.0,
) -> list[list[int]]:
    processes = LoaderProcesses(
        at_five if isinstance(at_five, Numbers) else Numbers(at_five),
        BATCHES,
        num_processes=num_processes,
        prefetch=2,
        still_s=still_s,
        anonymous=anonymous,
    )
    return [group[:, -1].tolist() for group in processes]


@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_all_groups_come_in_order(num_processes: int, anonymous: bool) -> None:
    assert load(lambda: None, num_processes=num_processes, anonymous=anonymous) == BATCHES


def spin() -> None:
    while True:
        pass


def kill_with(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "at_five", [partial(time.sleep, 3600), spin, kill_with(signal.SIGSTOP)], ids=["sleeps", "spins", "is stopped"]
)
def test_an_item_at_which_processes_hang_is_lost_and_the_others_come(at_five: Callable[[], object]) -> None:
    numbers, others = Numbers(at_five), psutil.Process().children()
    assert load(numbers, still_s=STILL_S) == WITHOUT_FIVE
    assert list(numbers.lost) == [5]
    assert "hangs" in numbers.lost[5]
    assert not {*psutil.Process().children()} - {*others}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_item_at_which_processes_crash_is_lost_and_the_others_come(
    number: signal.Signals, num_processes: int
) -> None:
    numbers = Numbers(kill_with(number))
    assert load(numbers, num_processes=num_processes, still_s=STILL_S) == WITHOUT_FIVE
    assert numbers.lost == {5: f"the decoder crashes at it ({number.name})"}


def test_an_item_that_crashes_once_is_tried_again(tmp_path: Path) -> None:
    def crash_once() -> None:
        if not (tmp_path / "crashed").exists():
            (tmp_path / "crashed").touch()
            os.kill(os.getpid(), signal.SIGSEGV)

    assert load(crash_once, still_s=STILL_S) == BATCHES


def test_storage_that_does_not_answer_is_not_the_items_fault(tmp_path: Path) -> None:
    """Reading a pipe without a writer does not end, as on a network disk that has gone."""
    os.mkfifo(tmp_path / "5.mp4")

    class OnStorage(Numbers):
        def path(self, number: int) -> Path:
            return tmp_path / f"{number}.mp4"

    numbers = OnStorage(lambda: (tmp_path / "5.mp4").read_bytes())
    with pytest.raises(LoaderLost, match=r"5.mp4, has made no progress"):
        load(numbers, still_s=STILL_S)
    assert not numbers.lost


@pytest.mark.parametrize("at_five", [kill_with(signal.SIGKILL), partial(os._exit, 3)], ids=["9", "exit"])
def test_a_process_that_dies_ends_the_loading_and_its_item_is_named(at_five: Callable[[], object]) -> None:
    with pytest.raises(LoaderLost, match=r"loader process 0 \(pid \d+\), at /videos/5.mp4, died"):
        load(at_five, still_s=STILL_S)


@pytest.mark.parametrize("at_five", [partial(time.sleep, 3600), kill_with(signal.SIGSEGV)], ids=["sleeps", "11"])
def test_it_is_noticed_in_a_thread_too(at_five: Callable[[], object]) -> None:
    """A worker of Ray Train trains in a thread."""
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(load, at_five, still_s=STILL_S).result() == WITHOUT_FIVE


@pytest.mark.skipif(not has_anonymous_memory(), reason="a pipe has room")
def test_a_group_without_room_ends_the_loading_in_one_sentence() -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(LoaderLost, match=r"^a loader process cannot hand its clips over: File too large; ") as caught:
        load(limit)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("anonymous", [None, False])
def test_groups_that_are_ready_need_nothing_of_their_process_any_more(anonymous: bool | None) -> None:
    """Process 0 has sent its first two groups when it is killed at its third, of item 5 in batch 2."""

    def die_later() -> None:
        time.sleep(0.5)  # its thread sends meanwhile what is ready
        os.kill(os.getpid(), signal.SIGKILL)

    processes = LoaderProcesses(
        Numbers(die_later), BATCHES, num_processes=1, prefetch=3, still_s=2.0, anonymous=anonymous
    )
    time.sleep(1.5)
    assert [next(processes)[:, -1].tolist() for _ in range(2)] == BATCHES[:2]
    with pytest.raises(LoaderLost, match=r"at /videos/5.mp4, died"):
        next(processes)


def test_a_process_that_waits_for_slow_storage_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(bytes(1000))

    def read_slowly() -> None:
        with (tmp_path / "video").open("rb", buffering=0) as file:
            for _ in range(25):
                time.sleep(0.1)
                file.read(1)

    assert load(read_slowly, still_s=2.0) == BATCHES


def test_torchs_word_of_a_dead_process_is_no_error_of_whoever_computes_then() -> None:
    with pytest.raises(LoaderLost, match=r"a loader process died \(DataLoader worker \(pid 7\) is killed"):
        refuse_loss(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))
    refuse_loss(RuntimeError("shapes do not match"))
    refuse_loss(ValueError("DataLoader worker"))


def test_an_error_of_an_item_is_its_own() -> None:
    def fail() -> None:
        raise RuntimeError("five is missing")

    with pytest.raises(RuntimeError, match="five is missing"):
        load(fail)
