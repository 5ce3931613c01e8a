"""Groups of items from loader processes, which are watched while somebody waits for them.

torch's loader alone waits for ever if a process hangs or loses a batch, and its own time limit would also end a
process that only waits for slow storage. Here an item at which a process crashes or hangs is tried once more, in new
processes. If that happens again, the item is given up, and the loading goes on without it.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from reskd.errors import LoaderLost
from reskd.runtime.handover import Empty, Mailbox, Parcel
from reskd.runtime.loader_errors import TORCHS_WORDS
from reskd.runtime.progress import CHECK_S, NOWHERE, STILL_S, Logbook, Watch, note

logger = logging.getLogger(__name__)

NUM_TRIES = 2
"""How often an item may crash its process or make it hang. One time alone may be the machine's fault."""
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
"""Signals by which faulty code ends its own process. SIGKILL is none: it comes from outside, or if memory is short."""

Group = TypeVar("Group")
GroupOut = TypeVar("GroupOut", covariant=True)


class Source(Protocol[GroupOut]):
    """A torch data set whose items make groups."""

    on_read: Callable[[int], None] | None
    """Set in a loader process; gets the number of each item before it is read."""

    def path(self, number: int) -> Path:
        """The file of an item."""
        ...

    def lose(self, number: int, reason: str) -> None:
        """Never open this item again, as the process that reads it crashes or hangs. Called in the parent."""
        ...

    def collate(self, items: Sequence[Any], *, empty: Empty) -> GroupOut: ...


class LoaderProcesses(Iterator[Group]):
    """The groups of some batches, in order. Process i of n loads the batches i, i + n, ...

    An item at which a process crashes, or makes no progress for ``still_s`` while its group is waited for, is tried
    again and then lost (`Source.lose`). Raises LoaderLost if a process ends in another way, or storage does not answer.
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
        self._dataset, self._batches = dataset, batches
        self._num_processes, self._still_s, self._prefetch = num_processes, still_s, prefetch
        self._anonymous = anonymous
        self._suspicions: Counter[int] = Counter()
        self._start()

    def _start(self) -> None:
        """Start processes for the batches that are left."""
        self._logbook = Logbook(self._num_processes)
        self._num_received = 0
        loader: DataLoader[Any] = DataLoader(
            cast("Dataset[Any]", self._dataset),
            batch_sampler=self._batches,
            num_workers=self._num_processes,
            prefetch_factor=self._prefetch,
            collate_fn=_Send(self._dataset, Mailbox(self._num_processes, anonymous=self._anonymous)),
            worker_init_fn=_Begin(self._logbook),
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # without one the loader draws from torch's global generator
            timeout=min(CHECK_S, self._still_s / 2),
        )
        others = {*multiprocessing.active_children()}
        self._groups = _begun(loader)
        self._started = {*multiprocessing.active_children()} - others  # and what another thread started meanwhile

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
                if self._look(watch, error):
                    watch = None
        self._num_received += 1
        if isinstance(found, LoaderLost):
            raise found
        return found.open() if isinstance(found, Parcel) else found

    def _look(self, watch: Watch, error: RuntimeError) -> bool:
        """Whether new processes go on, since one has crashed at an item, or the one that is waited for hangs at it.

        Raises LoaderLost if it cannot be the item's fault.
        """
        dead = [i for i in range(self._num_processes) if Watch(self._logbook, i).look() == "died"]
        crashed = [(self._logbook.place(i), name) for i in dead if (name := self._crash(i))]
        if crashed and all(place != NOWHERE for place, _ in crashed):
            self._go_on([(place, f"the decoder crashes at it ({name})") for place, name in crashed])
            return True
        if dead or not str(error).startswith(TORCHS_WORDS[0]):
            text = ", ".join(self._who(process) for process in dead) or "a loader process"
            raise LoaderLost(
                f"{text} died ({error}). If memory was short, lower resources.loader_workers or optim.group_size; if "
                "the same video is named again, repair or remove it"
            ) from error
        if watch.look() == "hangs":
            place = self._logbook.place(watch.process)
            if place != NOWHERE and not watch.waits_for_storage and _answers(self._dataset.path(place), self._still_s):
                self._go_on([(place, f"the decoder hangs at it (no progress for {self._still_s:.0f} s)")])
                return True
            raise LoaderLost(
                f"{self._who(watch.process)} has made no progress for {watch.still_for_s:.0f} s. See whether the "
                "storage answers; if the same video is named again, repair or remove it"
            ) from error
        return False

    def _crash(self, process: int) -> str:
        """The name of the signal by which a dead process ended itself; empty if it ended otherwise."""
        [child] = [child for child in self._started if child.pid == self._logbook.pid(process)]
        child.join(CHECK_S)  # its other threads may take a moment longer to end
        return next((number.name for number in CRASHES if child.exitcode == -number), "")

    def _go_on(self, suspects: Sequence[tuple[int, str]]) -> None:
        """Load the groups that are left in new processes, without the items that were tried often enough."""
        self._end()
        for number, reason in suspects:
            self._suspicions[number] += 1
            logger.info("%s: %s", self._dataset.path(number), reason)
            if self._suspicions[number] >= NUM_TRIES:
                self._dataset.lose(number, reason)
        self._batches = self._batches[self._num_received :]
        self._start()

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
            own = [child for child in self._started if child.pid in pids]
            for child in own:
                child.kill()
            for child in own:
                child.join(CHECK_S)


def _begun(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's iterator, with its processes. A thread starts them, where torch installs no handler of SIGCHLD: in
    the main thread, that handler raises RuntimeError at a child's death, wherever the program is then."""
    begun: list[Iterator[Any]] = []
    errors: list[BaseException] = []

    def begin() -> None:
        try:
            begun.append(iter(loader))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=begin)  # a process that is forked in a thread of a pool cannot end in order
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return begun[0]


def _answers(path: Path, patience_s: float) -> bool:
    """Whether storage answers a read of the whole file, be it by an error. A process asks, since it may hang there."""
    reader = multiprocessing.Process(target=_read_through, args=(path,), daemon=True)
    reader.start()
    reader.join(patience_s)
    is_done = reader.exitcode is not None
    reader.kill()
    return is_done


def _read_through(path: Path) -> None:
    with suppress(OSError), path.open("rb") as file:
        while file.read(1 << 20):
            pass


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
        for number in CRASHES:
            signal.signal(number, signal.SIG_DFL)  # torch's own handlers print a line
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
