"""Groups of items from loader processes, which are watched while somebody waits for them.

torch's loader alone waits for ever if a process hangs or loses a batch, and its own time limit would also end a
process that only waits for slow storage.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from reskd.errors import LoaderLost
from reskd.runtime.handover import Empty, Mailbox, Parcel
from reskd.runtime.loader_errors import TORCHS_WORDS
from reskd.runtime.progress import CHECK_S, NOWHERE, STILL_S, Logbook, Watch, note

Group = TypeVar("Group")
GroupOut = TypeVar("GroupOut", covariant=True)


class Source(Protocol[GroupOut]):
    """A torch data set whose items make groups."""

    on_read: Callable[[int], None] | None
    """Set in a loader process; gets the number of each item before it is read."""

    def path(self, number: int) -> object:
        """The file of an item, for a message."""
        ...

    def collate(self, items: Sequence[Any], *, empty: Empty) -> GroupOut: ...


class LoaderProcesses(Iterator[Group]):
    """The groups of some batches, in order. Process i of n loads the batches i, i + n, ...

    Raises LoaderLost if a process dies, or makes no progress for ``still_s`` while its group is waited for.
    """

    def __init__(
        self,
        dataset: Source[Group],
        batches: Sequence[list[Any]],
        *,
        num_processes: int,
        prefetch: int,
        still_s: float = STILL_S,
        anonymous: bool | None = None,
    ) -> None:
        """dataset: a torch data set. batches: its keys. prefetch: number of groups that each process keeps ready.
        anonymous: see `Mailbox`."""
        self._dataset = dataset
        self._num_processes, self._still_s = num_processes, still_s
        self._logbook = Logbook(num_processes)
        self._num_received = 0
        loader: DataLoader[Any] = DataLoader(
            cast("Dataset[Any]", dataset),
            batch_sampler=batches,
            num_workers=num_processes,
            prefetch_factor=prefetch,
            collate_fn=_Send(dataset, Mailbox(num_processes, anonymous=anonymous)),
            worker_init_fn=_Begin(self._logbook),
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # without one the loader draws from torch's global generator
            timeout=min(CHECK_S, still_s / 2),
        )
        self._groups = iter(loader)

    def __next__(self) -> Group:
        try:
            return self._next()
        except StopIteration:
            raise
        except BaseException:
            self._end()  # at once: torch would wait for them when this iterator is collected
            raise

    def _next(self) -> Group:
        watch: Watch | None = None  # most groups are there at once
        while True:
            try:
                found = next(self._groups)
                break
            except RuntimeError as error:
                if not str(error).startswith(TORCHS_WORDS):
                    raise
                watch = watch or Watch(self._logbook, self._num_received % self._num_processes, still_s=self._still_s)
                self._look(watch, error)
        self._num_received += 1
        if isinstance(found, LoaderLost):
            raise found
        return found.open() if isinstance(found, Parcel) else found

    def _look(self, watch: Watch, error: RuntimeError) -> None:
        """Raise LoaderLost if a process has died, or the one that is waited for hangs."""
        dead = [i for i in range(self._num_processes) if Watch(self._logbook, i).look() == "died"]
        if dead or not str(error).startswith(TORCHS_WORDS[0]):
            text = ", ".join(self._who(process) for process in dead) or "a loader process"
            raise LoaderLost(
                f"{text} died ({error}). If memory was short, lower resources.loader_workers or optim.group_size; if "
                "the same video is named again, repair or remove it"
            ) from error
        if watch.look() == "hangs":
            raise LoaderLost(
                f"{self._who(watch.process)} has made no progress for {watch.still_for_s:.0f} s. See whether the "
                "storage answers; if the same video is named again, repair or remove it"
            ) from error

    def _who(self, process: int) -> str:
        pid, place = self._logbook.pid(process), self._logbook.place(process)
        if not pid:
            return f"loader process {process}, which has not started,"
        doing = "between two clips" if place == NOWHERE else f"at {self._dataset.path(place)}"
        return f"loader process {process} (pid {pid}), {doing},"

    def _end(self) -> None:
        """Kill the processes. One that hangs would not end by itself, and torch would wait for it."""
        with _no_signal_of_children():
            pids = {self._logbook.pid(process) for process in range(self._num_processes)}
            own = [child for child in multiprocessing.active_children() if child.pid in pids]
            for child in own:
                child.kill()
            for child in own:
                child.join(CHECK_S)


@contextmanager
def _no_signal_of_children() -> Iterator[None]:
    """In the main thread, torch raises RuntimeError at the signal of a child's death, wherever the program is then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


class _Begin:
    """What a loader process does at its start."""

    def __init__(self, logbook: Logbook) -> None:
        self._logbook = logbook

    def __call__(self, process: int) -> None:
        torch.set_num_threads(1)  # the processes together use all cores
        self._logbook.enter(process)
        info = get_worker_info()
        assert info is not None
        source: Any = info.dataset
        source.on_read = note


class _Send:
    """What a loader process does with the items of a group."""

    def __init__(self, dataset: Source[Any], mailbox: Mailbox) -> None:
        self._collate, self._mailbox = dataset.collate, mailbox

    def __call__(self, items: Sequence[Any]) -> Parcel[Any] | LoaderLost:
        info = get_worker_info()
        assert info is not None
        note(NOWHERE)
        try:
            return self._mailbox.packed(info.id, lambda empty: self._collate(items, empty=empty))
        except LoaderLost as error:
            return error  # raised, it would come with torch's words and a traceback
