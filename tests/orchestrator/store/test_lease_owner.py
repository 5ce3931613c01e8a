"""What can be proved about the process that holds a lease: not to see it is no proof that it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store import lease_owner
from orchestrator.store.lease import LeaseBlob, Leases, StallWatch, read_lease
from orchestrator.store.lease_owner import Owner
from reskd.blobs import FolderBlobs


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def owner_of(pid: int) -> Owner:
    """The owner as the process itself would record it: field 22 of its stat file is its start time."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return replace(Owner.this_process(), id="other", pid=pid, started=stat.rpartition(")")[2].split()[19])


def hide_others(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A /proc that shows this process alone, as one mounted with hidepid=2 does."""
    pid = str(os.getpid())
    (folder / pid).mkdir(parents=True)
    (folder / "self").symlink_to(pid)
    for name in ("ns", "stat"):
        (folder / pid / name).symlink_to(f"/proc/{pid}/{name}")
    (folder / "sys").symlink_to("/proc/sys")
    monkeypatch.setattr(lease_owner, "PROC", folder)
    return folder


def test_a_process_lives_until_it_has_ended_even_if_nobody_has_collected_it(other: subprocess.Popen[bytes]) -> None:
    owner = owner_of(other.pid)
    assert owner.fate() == "lives"
    other.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while owner.fate() == "lives" and time.monotonic() < until:
        time.sleep(0.01)
    assert owner.fate() == "gone"  # a zombie
    other.wait()
    assert owner.fate() == "gone"
    assert Owner.this_process().fate() == "lives"


def test_a_later_process_with_the_same_number_is_another_one(other: subprocess.Popen[bytes]) -> None:
    assert replace(owner_of(other.pid), started="1").fate() == "gone"


def test_a_process_that_proc_hides_is_unknown_and_only_the_kernel_says_that_it_has_ended(
    other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    owner = owner_of(other.pid)
    hide_others(monkeypatch, tmp_path)
    assert Owner.this_process().space == owner.space
    assert owner.fate() == "unknown"
    other.kill()
    other.wait()
    assert owner.fate() == "gone"


@pytest.mark.parametrize("elsewhere", [{"space": "another boot"}, {"host": "another-host"}, {"space": "nowhere"}])
def test_nothing_is_known_of_a_process_of_another_boot_container_or_host(elsewhere: dict[str, str]) -> None:
    assert replace(Owner.this_process(), pid=2**22 + 1).fate() == "gone"  # no such number can exist
    assert replace(Owner.this_process(), pid=2**22 + 1, **elsewhere).fate() == "unknown"


@pytest.mark.parametrize("damage", ["no proc", "proc of another namespace"])
def test_without_a_proc_of_its_own_a_process_can_neither_look_nor_be_looked_for(
    damage: str, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    owner = owner_of(other.pid)
    proc = tmp_path / "proc"
    if damage == "proc of another namespace":  # of a container that mounts its host's: the numbers are the host's
        hide_others(monkeypatch, proc)
        (proc / "self").unlink()
        (proc / "self").symlink_to("1")
    monkeypatch.setattr(lease_owner, "PROC", proc)
    here = Owner.this_process()
    other.kill()
    other.wait()
    assert owner.fate() == "unknown"
    assert here.fate() == replace(here, pid=2**22 + 1).fate() == "unknown"


def test_the_lease_of_a_hidden_process_is_taken_over_when_its_counter_stands_still(
    other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = LeaseBlob("step/lease.json", FolderBlobs(tmp_path / "store"))
    theirs = Leases(owner_of(other.pid), beat_s=0.05)
    assert theirs.take(path)
    hide_others(monkeypatch, tmp_path / "proc")
    impatient = Leases(stale_s=1.0)
    assert not impatient.take_when_still(path)  # the counter moves
    assert not Leases(stale_s=1.0).take_when_still(path)
    theirs._stop.set()
    theirs._thread.join()  # type: ignore[union-attr]
    mine = Leases(stale_s=0.2)
    assert not mine.take(path)
    assert mine.take_when_still(path)
    mine.release()
    assert read_lease(path) is None


def test_a_lease_that_an_earlier_version_wrote_is_left_to_its_counter(tmp_path: Path) -> None:
    path = LeaseBlob("step/lease.json", FolderBlobs(tmp_path))
    here = Owner.this_process()
    boot_and_pids = " ".join(here.space.split()[:2])
    old = Leases(replace(here, id="old", space=boot_and_pids, pid=2**22 + 1), beat_s=1000)
    assert old.take(path)
    lease = read_lease(path)
    assert lease is not None
    watch = StallWatch(stale_s=0.05)
    assert not watch.is_stale(path, lease)
    time.sleep(0.1)
    assert watch.is_stale(path, lease)
    old.release()
