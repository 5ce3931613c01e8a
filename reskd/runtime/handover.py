"""Hands a batch from a loader process to its parent, in memory that belongs to no folder.

torch's own way is a file in /dev/shm for each tensor, made by a thread of the loader process. Where that folder is
small (64 MB in Docker), the thread loses the batch, and the parent waits for ever (pytorch issue 5040). Here the
loader process itself takes the memory (memfd), so that a failure is an error of this batch. And it sends the memory's
descriptor ahead of the batch: then the parent needs nothing more of that process, which may die or hang. Where a system
has no such memory, the batch goes through torch's pipe, byte by byte; that takes longer and needs no folder either.
"""

from __future__ import annotations

import errno
import functools
import io
import itertools
import math
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from reskd.errors import LoaderLost, reason_of

RECEIVE_S = 5.0
"""How long the parent waits for a descriptor. It was sent before the batch, so it is there."""
THE_TENSOR = "the tensor"
WAY_OUT = "give the job more memory or a higher limit of open files (ulimit -n), or lower resources.loader_workers"

Value = TypeVar("Value")
Empty = Callable[[Sequence[int]], Tensor]
"""Gives a uint8 tensor of a shape, with any content."""


def empty(shape: Sequence[int]) -> Tensor:
    """A uint8 tensor in this process's own memory."""
    return torch.empty(tuple(shape), dtype=torch.uint8)


@dataclass(frozen=True, slots=True)
class Parcel(Generic[Value]):
    """A batch on its way to the parent."""

    box: int
    sender: int
    number: int
    """How many the sender had sent before."""
    shape: tuple[int, ...]
    """Of the tensor that lies in the memory sent."""
    content: bytes = b""
    """The batch itself, if no memory was sent."""

    def open(self) -> Value:
        value: Value = _unpacked(self.content, None) if self.content else _boxes[self.box].received(self)
        return value

    def pin_memory(self) -> Any:
        """Called by a thread of torch's loader: the batch with its tensors in pinned memory."""
        value: Any = self.open()
        return value.pin_memory()


class Mailbox:
    """The way from some loader processes to their parent. The parent makes it before they start.

    ``anonymous``: hand over in anonymous memory; else through torch's pipe. None: if this system can.
    """

    def __init__(self, num_senders: int, *, anonymous: bool | None = None) -> None:
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        is_anonymous = has_anonymous_memory() if anonymous is None else anonymous
        self.id = next(_ids)
        self._num_sent = 0
        pair = functools.partial(socket.socketpair, socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pairs = [pair() for _ in range(num_senders if is_anonymous else 0)]
        for inbox, _ in self._pairs:
            inbox.settimeout(RECEIVE_S)
        _boxes[self.id] = self

    def __del__(self) -> None:
        for inbox, outbox in self._pairs:
            inbox.close()
            outbox.close()

    def packed(self, sender: int, make: Callable[[Empty], Value]) -> Parcel[Value]:
        """Called in a loader process. ``make`` returns the batch; it gets its large tensor from its argument.

        Raises LoaderLost if there is no room for the batch.
        """
        if not self._pairs:
            return Parcel(self.id, sender, 0, (), _packed(make(empty), None))
        with _naming_the_room():
            memory = _Memory()
        try:
            value = make(memory.empty)
            shape = () if memory.tensor is None else tuple(memory.tensor.shape)
            rest = _packed(value, memory.tensor)
            parcel: Parcel[Value] = Parcel(self.id, sender, self._num_sent, shape)
            with _naming_the_room():
                os.pwrite(memory.descriptor, rest, _num_bytes(shape))
                socket.send_fds(self._pairs[sender][1], [_stamp(parcel)], [memory.descriptor])
        finally:
            os.close(memory.descriptor)
        self._num_sent += 1
        return parcel

    def received(self, parcel: Parcel[Value]) -> Value:
        """Called in the parent, once for each parcel, in the order of its sender."""
        stamp, descriptors, _, _ = socket.recv_fds(self._pairs[parcel.sender][0], 8, 1)
        if not descriptors:
            raise OSError(errno.EMFILE, "too many open files to receive clips; raise the limit (ulimit -n)")
        [descriptor] = descriptors
        try:
            assert stamp == _stamp(parcel), (stamp, parcel)
            num_bytes = _num_bytes(parcel.shape)
            tensor = _mapped(descriptor, parcel.shape) if num_bytes else None
            rest = os.pread(descriptor, os.fstat(descriptor).st_size - num_bytes, num_bytes)
        finally:
            os.close(descriptor)
        value: Value = _unpacked(rest, tensor)
        return value


_ids = itertools.count()
_boxes: WeakValueDictionary[int, Mailbox] = WeakValueDictionary()
"""The parent's mailboxes. A parcel comes out of torch's queue, where nothing else tells to which one it belongs."""


class _Memory:
    """Anonymous memory with at most one tensor at its beginning."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("reskd-clips")
        self.tensor: Tensor | None = None

    def empty(self, shape: Sequence[int]) -> Tensor:
        num_bytes = _num_bytes(shape)
        if not num_bytes:
            return empty(shape)
        assert self.tensor is None, "a batch has one large tensor"
        with _naming_the_room():
            # Too little memory is an error here; without this line, it would kill the process at the first write.
            os.posix_fallocate(self.descriptor, 0, num_bytes)
            self.tensor = _mapped(self.descriptor, shape)
        return self.tensor


class _Packer(pickle.Pickler):
    """Leaves out the tensor that lies in the memory, if there is one. The others go as arrays."""

    def __init__(self, file: io.BytesIO, tensor: Tensor | None) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._tensor = tensor

    def persistent_id(self, value: object) -> str | None:
        return THE_TENSOR if value is self._tensor and value is not None else None

    def reducer_override(self, value: object) -> Any:
        return (torch.from_numpy, (value.numpy(),)) if isinstance(value, Tensor) else NotImplemented


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensor: Tensor | None) -> None:
        super().__init__(file)
        self._tensor = tensor

    def persistent_load(self, name: object) -> Tensor | None:
        assert name == THE_TENSOR, name
        return self._tensor


def _packed(value: object, tensor: Tensor | None) -> bytes:
    content = io.BytesIO()
    _Packer(content, tensor).dump(value)
    return content.getvalue()


def _unpacked(content: bytes, tensor: Tensor | None) -> Any:
    return _Unpacker(io.BytesIO(content), tensor).load()


def _num_bytes(shape: Sequence[int]) -> int:
    return math.prod(shape) if shape else 0


def _stamp(parcel: Parcel[Any]) -> bytes:
    return parcel.number.to_bytes(8, "big")


def _mapped(descriptor: int, shape: Sequence[int]) -> Tensor:
    """The file's first bytes as a uint8 tensor. It stays when the descriptor is closed."""
    file = f"/proc/self/fd/{descriptor}"
    return torch.from_file(file, shared=True, size=math.prod(shape), dtype=torch.uint8).view(tuple(shape))


@functools.cache
def has_anonymous_memory() -> bool:
    """Whether this system can hand over in anonymous memory: tried once, with one byte. Linux can."""
    try:
        box = Mailbox(1, anonymous=True)
        parcel = box.packed(0, lambda there: there([1]).fill_(7))
        return int(box.received(parcel)) == 7
    except (AttributeError, OSError, RuntimeError, LoaderLost):
        return False


@contextmanager
def _naming_the_room() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise LoaderLost(f"a loader process cannot hand its clips over: {reason_of(error)}; {WAY_OUT}") from error
