"""Batches go from a process to its parent whole, and what has no room is an error in the process that made it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from reskd.errors import LoaderLost
from reskd.runtime import handover
from reskd.runtime.handover import Empty, Mailbox, has_anonymous_memory

with_memory = pytest.mark.skipif(not has_anonymous_memory(), reason="this system has no anonymous memory")
WAYS = [pytest.param(True, id="anonymous", marks=with_memory), pytest.param(False, id="pipe")]


@dataclass
class Batch:
    clips: Tensor
    labels: Tensor
    names: tuple[str, ...]


def batch(number: int, *, size: int = 50_000) -> Callable[[Empty], Batch]:
    def make(empty: Empty) -> Batch:
        clips = empty([2, size])
        clips[:] = torch.arange(2 * size).remainder(251).view(2, size) + number
        return Batch(clips, torch.tensor([number, 5]), (f"clip{number}", "é"))

    return make


def assert_equal(found: Batch, expected: Batch) -> None:
    assert torch.equal(found.clips, expected.clips)
    assert torch.equal(found.labels, expected.labels)
    assert (found.clips.dtype, found.labels.dtype) == (torch.uint8, torch.int64)
    assert found.names == expected.names


def from_processes(box: Mailbox, work: Callable[[int], object], *, num_senders: int) -> list[object]:
    """What each sender's process answers. It has ended by then."""
    context = multiprocessing.get_context("fork")
    answers: list[object] = []
    for sender in range(num_senders):
        mine, other = context.Pipe(duplex=False)
        process = context.Process(target=lambda sender=sender, to=other: to.send(work(sender)))
        process.start()
        answers.append(mine.recv())
        process.join()
    return answers


@with_memory
def test_batches_arrive_from_processes_that_have_ended_by_then() -> None:
    box = Mailbox(2, anonymous=True)
    make = [[batch(10 * sender + number) for number in range(3)] for sender in range(2)]
    parcels = from_processes(box, lambda sender: [box.packed(sender, one) for one in make[sender]], num_senders=2)
    for of_sender, sent in zip(parcels, make, strict=True):
        for parcel, one in zip(of_sender, sent, strict=True):
            assert_equal(parcel.open(), one(handover.empty))


@pytest.mark.parametrize("anonymous", WAYS)
def test_a_batch_without_clips_arrives_too(anonymous: bool) -> None:
    box = Mailbox(1, anonymous=anonymous)
    nothing = box.packed(0, batch(3, size=0)).open()
    assert nothing.clips.shape == (2, 0)
    assert nothing.names == ("clip3", "é")


@with_memory
def test_what_arrives_can_be_written_and_stays_when_others_come() -> None:
    box = Mailbox(1, anonymous=True)
    first, second = box.packed(0, batch(1)).open(), box.packed(0, batch(2)).open()
    second.clips.zero_()
    assert_equal(first, batch(1)(handover.empty))


class Pinned(Batch):
    def pin_memory(self) -> Pinned:
        return Pinned(self.clips, self.labels, (*self.names, "pinned"))


@pytest.mark.parametrize("anonymous", WAYS)
def test_torchs_thread_pins_the_batch_that_it_opens(anonymous: bool) -> None:
    box, found = Mailbox(1, anonymous=anonymous), list[object]()
    sent = batch(3)(handover.empty)
    parcel = box.packed(0, lambda empty: Pinned(empty([2, 50_000]).copy_(sent.clips), sent.labels, sent.names))
    thread = threading.Thread(target=lambda: found.append(pin_memory(parcel)))
    thread.start()
    thread.join()
    assert isinstance(found[0], Pinned)
    assert_equal(found[0], replace(sent, names=(*sent.names, "pinned")))


@with_memory
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_no_file_stays_open() -> None:
    def num_open() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = num_open()
    box = Mailbox(1, anonymous=True)
    kept = [box.packed(0, batch(number)).open() for number in range(20)]
    assert num_open() == before + 2  # the two ends of the one sender's way
    del box
    assert num_open() == before
    assert_equal(kept[7], batch(7)(handover.empty))


@pytest.mark.parametrize("anonymous", WAYS)
def test_a_batch_needs_no_file_in_a_shared_folder(anonymous: bool) -> None:
    """torch's own way makes files there; their names hold the process's number."""
    folder = Path("/dev/shm")
    box = Mailbox(1, anonymous=anonymous)
    [parcel] = from_processes(box, lambda sender: box.packed(sender, batch(1)), num_senders=1)
    assert not folder.exists() or not list(folder.glob(f"torch_{os.getpid()}_*"))
    assert_equal(parcel.open(), batch(1)(handover.empty))  # type: ignore[attr-defined]


@with_memory
def test_what_has_no_room_is_an_error_that_says_why_and_the_way_out() -> None:
    """A limit on the size of a file holds for anonymous memory too."""
    box = Mailbox(1, anonymous=True)

    def answer(_: int) -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            box.packed(0, batch(1))
        except LoaderLost as error:
            return str(error)
        return "no error"

    [said] = from_processes(box, answer, num_senders=1)
    assert str(said).startswith("a loader process cannot hand its clips over: File too large; ")
    assert "lower resources.loader_workers" in str(said)


def test_a_system_without_anonymous_memory_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    assert has_anonymous_memory.__wrapped__() is False
    assert Mailbox(1, anonymous=False).packed(0, batch(2)).content
