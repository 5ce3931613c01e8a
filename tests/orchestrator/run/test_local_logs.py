"""Logs of runs on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.run.local_logs import follow_log, new_log, newest_log
from orchestrator.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def write(store: Store, name: str, *, age: int) -> Path:
    path = store.home / "logs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(name)
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return path


def test_the_newest_log_of_the_store_or_of_a_sweep_is_found(store: Store) -> None:
    assert newest_log(store) is None
    both = write(store, "table4+table5-20260101-120000.log", age=3)
    changed = write(store, "table4+optim.lr=.02-20260101-110000.log", age=2)
    other = write(store, "my-table4-20260101-100000.log", age=1)
    write(store, "notes.log", age=0)
    assert newest_log(store) == other
    assert newest_log(store, file="table4") == changed
    assert newest_log(store, file="table5") == both
    assert newest_log(store, file="table") is None
    mine = new_log(store, "table")
    mine.touch()
    assert newest_log(store, file="table") == mine


def test_following_writes_what_is_added_until_the_run_has_ended(store: Store) -> None:
    path = write(store, "a-20260101-120000.log", age=0)
    path.write_text("first\n")
    written: list[str] = []
    goes_on = iter([True, True, False])

    def add(seconds: float) -> None:
        with path.open("a") as file:
            file.write("more\n")

    follow_log(path, write=written.append, goes_on=lambda: next(goes_on), pause=add)
    assert "".join(written) == "first\nmore\nmore\n"
