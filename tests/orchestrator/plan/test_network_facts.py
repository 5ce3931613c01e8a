"""What is known of a network is kept in a file, so that a plan loads no torch; the file can be anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import check_steps, prepare
from orchestrator.plan import cost, network_facts
from orchestrator.store.store import Store
from reskd.cost.layer_traffic import trace
from reskd.recipe import ModelSpec
from tests.support.stored_sweep import SWEEP

READS = """
import sys
from pathlib import Path
from orchestrator.experiment.bound_sweep import check_steps, prepare
from orchestrator.store.store import Store

prepared = prepare(Path(sys.argv[1]), store=Store(Path(sys.argv[2])))
check_steps(prepared)
costs = [job.cost for job in prepared.plan().jobs]
print(costs, sorted({"torch", "torchvision", "av", "mlflow", "pandas"} & set(sys.modules)))
"""


def forget() -> None:
    for kept in (network_facts._known, network_facts._file, cost._traced, cost.roofline_seconds, cost.num_kernels):
        kept.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, with nothing remembered in this process."""
    monkeypatch.setenv("RESKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RESKD_DATA", str(tmp_path))
    forget()
    yield tmp_path / "cache"
    forget()


def test_a_second_plan_has_the_same_estimates_and_loads_no_torch(folder: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "levels.yaml"
    sweep.write_text(SWEEP.replace("SEEDS", "[0]"))
    prepared = prepare(sweep, store=Store(tmp_path / "store"))
    check_steps(prepared)
    costs = [job.cost for job in prepared.plan().jobs]
    done = subprocess.run(
        [sys.executable, "-c", READS, str(sweep), str(tmp_path / "store")], capture_output=True, text=True
    )
    assert done.stdout.strip() == f"{costs} []", done.stderr


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"\xff"])
def test_a_trace_is_that_of_the_network_whatever_the_file_holds(folder: Path, content: bytes | None) -> None:
    spec = ModelSpec(name="tsn_mini10", resolution=24)
    if content is not None:
        folder.mkdir()
        network_facts._file().write_bytes(content)
    expected = trace(spec, num_frames=2)
    assert cost._trace(spec, num_frames=2) == expected
    forget()
    assert cost._trace(spec, num_frames=2) == expected
    assert len(list(folder.iterdir())) == 1


def test_a_folder_that_cannot_be_written_costs_time_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESKD_CACHE", "/proc/nowhere")
    calls: list[int] = []
    for _ in range(2):
        forget()
        assert network_facts.remembered("a", lambda: calls.append(1) or len(calls)) == len(calls)
    assert len(calls) == 2


def test_changed_code_and_a_failure_are_not_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        network_facts.remembered("a", lambda: 1 / 0)
    assert network_facts.remembered("a", lambda: 1) == 1
    assert network_facts.remembered("a", lambda: 2) == 1
    forget()
    monkeypatch.setattr(network_facts, "_sources", lambda: iter([Path(__file__)]))
    assert network_facts.remembered("a", lambda: 3) == 3
