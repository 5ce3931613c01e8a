"""Three runs, a store and a clock in any order: never do two runs hold a step at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.store import lease as module
from orchestrator.store.lease import STALE_S, LeaseBlob, Leases
from orchestrator.store.lease_owner import Owner

RUNS, STEPS = range(3), ("5tep",)


class Shared:
    """The store's content: key -> (bytes, version). Versions are never used twice."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, str]] = {}
        self.num_writes = 0

    def put(self, key: str, content: bytes) -> str:
        self.num_writes += 1
        self.held[key] = content, str(self.num_writes)
        return str(self.num_writes)


class Link:
    """One run's way to the store. It can be cut, lose an answer, or be slow enough for another run to come between."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.is_cut = False
        self.loses_answer = False
        self.between: Callable[[], None] | None = None

    def _pass(self) -> None:
        if self.is_cut:
            raise ConnectionError("cut")
        act, self.between = self.between, None
        if act is not None:
            act()

    def where(self, key: str) -> str:
        return key

    def read(self, key: str) -> bytes | None:
        return self.read_version(key)[0]

    def read_version(self, key: str) -> tuple[bytes | None, str | None]:
        self._pass()
        return self.shared.held.get(key, (None, None))

    def create(self, key: str, content: bytes) -> bool:
        self._pass()
        if key in self.shared.held:
            return False
        self.shared.put(key, content)
        self._answer()
        return True

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        self._pass()
        if self.shared.held.get(key, (b"", ""))[1] != version:
            return None
        written = self.shared.put(key, content)
        self._answer()
        return written

    def _answer(self) -> None:
        if self.loses_answer:
            self.loses_answer = False
            raise ConnectionError("written, but nobody heard of it")


class Race(RuleBasedStateMachine):
    """Runs that take, keep and lose leases. None of them can see another's process."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        clock = SimpleNamespace(monotonic=lambda: self.now, time=time.time, sleep=lambda seconds: None)
        self._patch = patch.object(module, "time", clock)
        self._patch.start()
        self.shared, self.num_started = Shared(), 0
        self.runs: list[tuple[Leases, Link]] = []
        for _ in RUNS:
            self.runs.append(self._new())

    def _new(self) -> tuple[Leases, Link]:
        self.num_started += 1
        name = f"run {self.num_started}"
        return Leases(Owner(name, "away", f"machine of {name}", 1, "1"), beat_s=1e9), Link(self.shared)

    def _place(self, link: Link, step: str) -> LeaseBlob:
        return LeaseBlob(step, link)  # type: ignore[arg-type]

    def teardown(self) -> None:
        for leases, _ in self.runs:
            leases._stop.set()
        self._patch.stop()

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, 59.0, STALE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(run=st.sampled_from(RUNS), step=st.sampled_from(STEPS))
    def take(self, run: int, step: str) -> None:
        leases, link = self.runs[run]
        try:
            taken = leases.take(self._place(link, step))
        except ConnectionError:
            return
        assert taken == (self._place(link, step) in leases.paths())

    @rule(run=st.sampled_from(RUNS))
    def beat(self, run: int) -> None:
        leases, _ = self.runs[run]
        for path in leases.paths():
            leases._raise_counter(path)

    @rule(run=st.sampled_from(RUNS))
    def release(self, run: int) -> None:
        leases, _ = self.runs[run]
        leases.release(leases.paths())

    @rule(run=st.sampled_from(RUNS))
    def crash_and_start_anew(self, run: int) -> None:
        self.runs[run][0]._stop.set()
        self.runs[run] = self._new()

    @rule(run=st.sampled_from(RUNS))
    def cut_or_mend(self, run: int) -> None:
        link = self.runs[run][1]
        link.is_cut = not link.is_cut

    @rule(run=st.sampled_from(RUNS))
    def lose_the_next_answer(self, run: int) -> None:
        self.runs[run][1].loses_answer = True

    @precondition(lambda self: all(link.between is None for _, link in self.runs))
    @rule(run=st.sampled_from(RUNS), other=st.sampled_from(RUNS), step=st.sampled_from(STEPS), takes=st.booleans())
    def come_between(self, run: int, other: int, step: str, takes: bool) -> None:
        """Inside the next request of one run, another one takes or beats."""
        if run != other:
            self.runs[run][1].between = (lambda: self.take(other, step)) if takes else (lambda: self.beat(other))

    @invariant()
    def nobody_shares_a_step(self) -> None:
        """A run may train while its last beat that arrived is younger than the stale time."""
        for step in STEPS:
            training = [
                leases.owner.id
                for leases, _ in self.runs
                for path, held in leases._held.items()
                if path.key == step and self.now - held.asked < STALE_S
            ]
            assert len(training) <= 1, training

    @invariant()
    def whoever_must_stop_knows_it_in_time(self) -> None:
        for leases, _ in self.runs:
            oldest = max((self.now - held.asked for held in leases._held.values()), default=0.0)
            assert leases.must_stop or oldest <= STALE_S - module.STOP_S


TestRace = Race.TestCase
TestRace.settings = settings(stateful_step_count=50, deadline=None)
