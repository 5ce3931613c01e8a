"""The picture of a run on terminals of several sizes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.run.display.table import picture
from orchestrator.run.display.view import View
from tests.support.watched_runs import ended, job, training, view

LONG = "seed 0: a row whose name says its resolution, level and weight of distillation"


def drawn(found: View, *, width: int = 80, height: int = 24) -> list[str]:
    """The lines that a terminal of this size shows."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as printed:
        console.print(picture(found, width=width, height=height))
    return printed.get().splitlines()


def line_with(lines: list[str], words: str) -> str:
    (found,) = [line for line in lines if words in line]
    return found


def test_a_running_job_shows_epoch_speed_and_the_figures_of_each_member() -> None:
    one = job("a", "baseline", "pixel", state="running", label="seed 0: baseline and 1 more")
    lines = drawn(view([one, job("b"), ended(job("c"))], {"a": training(one)}))
    assert line_with(lines, "seed 0").split()[-4:] == ["3/10", "25", "%", "35"]
    assert line_with(lines, " pixel").split() == ["pixel", "0.35", "70.0"]
    assert "1 done, 1 running, 1 waiting" in lines[-1]
    assert line_with(lines, "levels").split()[2:5] == [f"{int(100 * (1 + 0.225) / 3)}", "%", "1:00"]


def test_where_members_do_not_fit_each_job_is_one_line_with_the_range_of_its_figures() -> None:
    jobs = [job(str(number), "baseline", "pixel", state="running", label=f"seed {number}") for number in range(9)]
    lines = drawn(view(jobs, {one.id: training(one) for one in jobs}))
    assert len(lines) < 24
    assert line_with(lines, "seed 8").split()[-2:] == ["0.25-0.35", "60-70"]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("num_jobs", [1, 12, 100])
def test_a_picture_is_never_wider_or_higher_than_the_terminal(width: int, num_jobs: int) -> None:
    jobs = [job(str(number), "baseline", "pixel", state="running", label=LONG) for number in range(num_jobs)]
    lines = drawn(view(jobs, {one.id: training(one, phase="validation") for one in jobs}), width=width)
    assert max(map(len, lines)) <= width
    assert len(lines) < 24
    shown = sum("seed 0" in line for line in lines)
    assert shown == num_jobs or f"and {num_jobs - shown} more" in "".join(lines)


def test_a_job_of_which_nothing_is_heard_says_so() -> None:
    new, still = job("a", state="running", label="new"), job("b", state="running", label="still")
    lines = drawn(view([new, still], {"b": training(still)}, silent_s={"a": 3.0, "b": 75.0}))
    assert "starting" in line_with(lines, "new")
    assert "silent 1:15" in line_with(lines, "still")
