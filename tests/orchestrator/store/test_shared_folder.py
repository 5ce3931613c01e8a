"""A store that a group shares: the rights of what is written, and the one line where a user has none."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.evaluations import stored_judgement
from orchestrator.store.lease import Leases, leases
from orchestrator.store.open import leased_store, store_at
from orchestrator.store.store import Store
from reskd.errors import BadInput
from tests.support.other_user import as_other_user
from tests.support.stored_sweep import PROTOCOL, StoredSweep


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own can be entered by this user alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # a TMPDIR of one's own may be closed
        os.chmod(name, 0o755)
        yield Path(name)


def fill(store: Store) -> None:
    """A record, a lease, a table: what plans, runs and tables write."""
    store.record_identity("a1", full_id="a1", payload={}, recipe={})
    held = Leases()
    assert held.take(store.lease_path("a1"))
    held.release()
    store.tables("levels").mkdir(parents=True)
    (store.tables("levels") / "report.md").write_text("# r\n", encoding="utf-8")


def closed_to_group(folder: Path) -> list[str]:
    """What below a folder the group may not write."""
    return sorted(path.name for path in folder.rglob("*") if not path.stat().st_mode & stat.S_IWGRP)


def test_in_a_folder_that_the_group_may_write_so_is_everything_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "store"
    home.mkdir()
    home.chmod(0o2775)
    fill(store_at(home))
    assert len(list(home.rglob("*"))) > 5
    assert closed_to_group(home) == []


def test_workers_write_for_the_group_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    with leases() as held:
        assert held.take(store_at(tmp_path).lease_path("a1"))
        os.umask(0o022)  # a worker is another process
        store = leased_store(str(tmp_path), owner_id=held.owner.id)
        store.write_evaluation("a1", "val-f4-v1x1", {}, {})
    assert {path.name for path in tmp_path.rglob("*.*")} >= {"val-f4-v1x1.json", "val-f4-v1x1.npz"}
    assert closed_to_group(tmp_path) == []


def test_in_any_other_folder_the_umask_stays_as_the_user_chose_it(tmp_path: Path) -> None:
    home = tmp_path / "store"
    os.umask(0o077)
    fill(store_at(home))
    assert not any(path.stat().st_mode & 0o077 for path in home.rglob("*"))


def test_a_folder_of_another_user_is_refused_in_one_line_that_says_whose_it_is(open_folder: Path) -> None:
    home = open_folder / "store"
    home.mkdir()
    home.chmod(0o555)
    said = as_other_user(lambda: refused(home))
    assert f"--store {home}: {home} belongs to " in said
    assert f"chmod -R g+rwX {home}" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["runs", "artifacts"])
def test_a_part_that_is_closed_is_refused_before_anything_is_done(open_folder: Path, name: str) -> None:
    home = open_folder / "store"
    home.mkdir()
    home.chmod(0o777)
    part = home / name
    part.mkdir()
    part.chmod(0o555)
    said = as_other_user(lambda: refused(home))
    assert f"{part} belongs to " in said


def refused(home: Path) -> str:
    with pytest.raises(BadInput) as error:
        store_at(home)
    return str(error.value)


@pytest.mark.parametrize("name", ["line\nbreak", "not utf-8 \udcff", "tab\t"])
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"no UTF-8, or a control character"):
        store_at(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_damaged_may_be_removed_and_those_that_cannot_be_read_now_may_not(open_folder: Path) -> None:
    stored = StoredSweep(open_folder, seeds=(0,))
    step_id = stored.id_of("baseline", 0)
    stored.finish(step_id, 0.5)
    logits = Path(stored.store.place(step_id), "eval", f"{PROTOCOL}.npz")

    def said() -> str:
        with pytest.raises(BadInput) as error:
            stored_judgement(stored.store, step_id)
        return str(error.value)

    logits.chmod(0)
    denied = f"{logits}: cannot be read ([Errno 13] Permission denied: '{logits}'); try again, or let its owner open it"
    assert as_other_user(said) == denied
    logits.chmod(0o644)
    for damage in (b"", b"PK\3\4 cut off", b"other"):
        logits.write_bytes(damage)
        assert said().endswith(f"remove .json and .npz, then `reskd eval {step_id}` again")
