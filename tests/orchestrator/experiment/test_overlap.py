"""Several sweep files planned at once: what is shared is counted once, and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import call
from tests.support.unseen_sweep import PIXEL, SAME, write_unseen

Call = Callable[..., str]


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """One row is the same in both under two names, and the teacher is a row of the second."""
    clip = "{row: clip, kd.level: clip}"
    teacher = "{row: big, kd.level: none, model.name: tsn_mini18, model.resolution: 64}"
    return [
        write_unseen(tmp_path / "first.yaml", PIXEL, clip),
        write_unseen(tmp_path / "second.yaml", SAME, teacher),
    ]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """What `reskd plan` of these files says."""

    def said(*arguments: object) -> str:
        code, text = call(monkeypatch, capsys, "plan", *arguments, "--store", tmp_path / "store")
        assert code == 0, text
        return text

    return said


def test_steps_of_two_sweeps_are_counted_once_and_what_they_share_is_named(two: list[Path], plan: Call) -> None:
    text = plan(*two)
    # A seed: pixel, clip and their teacher; the second file asks for pixel and teacher again.
    assert "8 cells, 6 steps, of 10 in the files together, each counted once: 2 train, 4 waiting" in text
    assert "4 have a teacher, 2 teach others" in text
    found = json.loads(plan(*two, "--json"))
    assert [len(one["steps"]) for one in found["sweeps"]] == [6, 4]
    shared = {(step["name"], step["seed"]): step for step in found["union"]["shared"]}
    assert sorted(shared) == [("big", 0), ("big", 1), ("pixel", 0), ("pixel", 1)]
    assert shared["pixel", 1]["cells"] == [[str(two[0]), "pixel", 1], [str(two[1]), "ours", 1]]
    assert shared["big", 0]["sweeps"] == [str(path) for path in two]
    members = sorted(member for job in found["together"]["jobs"] for member in job["members"])
    assert members == sorted({step["id"] for one in found["sweeps"] for step in one["steps"]})
    apart = [one["forecast"]["device_hours"] for one in found["sweeps"]]
    # All that the second file asks for is in the first.
    assert found["together"]["forecast"]["device_hours"] == pytest.approx(max(apart))
    assert min(apart) > 0
    assert found["apart"] is None


def test_a_plan_of_files_that_cannot_run_together_says_why_and_no_schedule(two: list[Path], plan: Call) -> None:
    two[1].write_text(two[1].read_text() + "resources: {workers: 2, max_cpus: 2}\n")
    text = plan(*two)
    assert "not in one schedule:" in text
    assert "'resources.workers' is 2, and 1 in" in text
    found = json.loads(plan(*two, "--json"))
    assert found["together"] is None
    assert "resources.workers" in found["apart"]


def test_one_file_is_planned_as_ever(two: list[Path], plan: Call) -> None:
    assert len(json.loads(plan(two[0], two[0], "--json"))["cells"]) == 4
