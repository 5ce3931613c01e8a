"""`reskd` as a person types it, on a sweep file and a store of a test's own.

Each command is a process with a session of its own, which can be killed and whose output is read from files. It is a
copy of a process that has loaded everything; a program started anew, as the console does it, is `Place.start_anew`.
Ray decides about tokens while it is loaded, so commands with a token are started anew too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.store.store import Store
from tests.support.warm import COMMANDS, copies

WAIT_S = 360
PROGRAM = str(Path(sys.executable).with_name("reskd"))


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code (negative: the signal that killed it) and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Typed:
    """A command that runs. ``words`` is what stands behind `reskd`."""

    def __init__(
        self, words: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._printed = tempfile.TemporaryDirectory(prefix="typed-")
        variables = dict(os.environ if environment is None else environment)
        arguments = ([PROGRAM, *words], variables, str(folder or Path.cwd()), self._printed.name)
        self._process = copies(COMMANDS).Process(target=_type, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> Done:
        """Wait for its end. Raises TimeoutError with what it has printed so far, after it was killed."""
        self._process.join(WAIT_S)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise TimeoutError(f"not ended after {WAIT_S} s:\n{self.said()}")
        return Done(code, self._read("out"), self._read("err"))

    def said(self) -> str:
        """Everything printed so far."""
        return self._read("out") + self._read("err")

    def _read(self, name: str) -> str:
        path = Path(self._printed.name, name)
        return path.read_text() if path.exists() else ""


def _type(command: list[str], environment: dict[str, str], folder: str, printed: str) -> None:
    """Become the process that a shell would have started."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(Path(printed, name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    sys.argv = command
    from orchestrator.cli.main import main

    main()


def typed(*words: str, folder: Path | None = None, **variables: str) -> Done:
    """Type a command and wait for its end."""
    return Typed(words, folder=folder, environment=os.environ | variables).wait()


@dataclass(frozen=True)
class Place:
    """A sweep file and a store, and the command that brings the one to the other."""

    sweep: Path
    store: Store

    def words(self, name: str = "run", *options: str) -> list[str]:
        return [name, str(self.sweep), "--store", str(self.store.home), *options]

    def start(self) -> Typed:
        return Typed(self.words())

    def start_anew(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *self.words()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def call(self, name: str, *options: str, **variables: str) -> Done:
        return typed(*self.words(name, *options), **variables)

    def prepared(self) -> Prepared:
        return prepare(self.sweep, store=self.store)

    def hashes(self) -> dict[str, str]:
        """Hash of weights and buffers of every finished step."""
        done = {step_id: self.store.done(step_id) for step_id in self.store.step_ids()}
        return {step_id: record["state_hash"] for step_id, record in done.items() if record}

    def step_of(self, row: str) -> str:
        return next(step.id for step in self.prepared().steps.values() if (row, 0) in step.cells)


def wait_until(holds: Callable[[], bool], process: Typed | subprocess.Popen[str], *, every_s: float = 0.02) -> None:
    until = time.monotonic() + WAIT_S
    while not holds():
        if process.poll() is not None:
            said = process.said() if isinstance(process, Typed) else process.communicate()[0]
            raise AssertionError(f"ended too early:\n{said}")
        assert time.monotonic() < until, "waited too long"
        time.sleep(every_s)
