"""A plan on a terminal of 80 columns: one line for each cell and teacher, three for each job."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.show_plan import show_plan
from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.store.store import Store

SWEEPS = Path(__file__).parents[3] / "sweeps"
WIDTH = 80


def shown(prepared: Prepared, *, width: int = WIDTH) -> tuple[list[str], list[str]]:
    """The lines of the table of cells, and those of the jobs."""
    console = Console(file=io.StringIO(), width=width)
    show_plan(prepared, prepared.plan(), console)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert all(len(line) <= width for line in lines)
    head = next(number for number, line in enumerate(lines) if line.startswith("row "))
    jobs = next((number for number, line in enumerate(lines) if line.startswith("job ")), len(lines))
    end = next((number for number, line in enumerate(lines) if line.startswith("estimated ")), len(lines) - 1)
    return lines[head + 1 : min(jobs, end)], lines[jobs + 1 : end]


@pytest.mark.parametrize("name", ["demo", "table4", "table5"])
def test_every_cell_and_teacher_is_one_line_with_its_epochs_and_every_job_three(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESKD_DATA", str(tmp_path))
    prepared = prepare(SWEEPS / f"{name}.yaml", store=Store(tmp_path))
    table, jobs = shown(prepared)
    cells = [(step.recipe.num_epochs, step.id[:8]) for step in prepared.steps.values() for _ in step.cells]
    teachers = [(step.recipe.num_epochs, step.id[:8]) for step in prepared.steps.values() if not step.cells]
    assert teachers
    found = [line.split("  waiting")[0].split("  train")[0].split() for line in table]
    assert sorted((int(words[-2]), words[-1]) for words in found) == sorted(cells + teachers)
    assert all(line.startswith("teacher ") for line in table[len(cells) :])
    assert len(jobs) == 3 * len(prepared.plan().jobs)
    assert all(line.startswith("  ") == bool(number % 3) for number, line in enumerate(jobs))


MANY = """
question: Which dropout?
base:
  data: {name: demo, num_frames: 4, crop_size: 64}
  model: {name: tsn_mini10, resolution: 24}
  optim: {epochs: 2, batch_size: 8, group_size: 4}
rows:
  grid: {model.dropout: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]}
seeds: [0]
"""


def test_a_job_with_more_members_than_fit_names_some_and_counts_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESKD_DATA", str(tmp_path))
    (tmp_path / "many.yaml").write_text(MANY)
    prepared = prepare(tmp_path / "many.yaml", store=Store(tmp_path / "store"))
    num_members = len(prepared.plan().jobs[0].members)
    _, narrow = shown(prepared)
    named = narrow[1].count("dropout=")
    assert 1 <= named < num_members
    assert f"and {num_members - named} more" in narrow[1]
    _, wide = shown(prepared, width=200)
    assert wide[1].count("dropout=") == num_members
