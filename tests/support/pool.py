"""Two processes joined by gloo that run functions for the tests; starting them once saves most of the time."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.support.warm import TRAINING, copies

NUM_WORKERS = 2


def _serve(rank: int, rendezvous: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=NUM_WORKERS)
    while (call := pipe.recv()) is not None:
        function, arguments = call
        try:
            pipe.send(("value", function(*arguments)))
        except Exception:
            pipe.send(("error", traceback.format_exc()))
    dist.destroy_process_group()


class Pool:
    """Calls one function on both workers at once; results by rank."""

    def __init__(self) -> None:
        context = copies(TRAINING)
        rendezvous = str(Path(tempfile.mkdtemp()) / "rendezvous")
        self._pipes, self._processes = [], []
        for rank in range(NUM_WORKERS):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, rendezvous, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        for pipe in self._pipes:
            pipe.send((function, arguments))
        replies = [pipe.recv() for pipe in self._pipes]
        errors = [text for kind, text in replies if kind == "error"]
        if errors:
            raise RuntimeError("\n".join(errors))
        return [value for _, value in replies]

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(timeout=20)
