"""What is said of a run line by line: short, each thing once, and not too much of long jobs."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.run.display.lines import LINES_A_JOB, Lines
from tests.support.watched_runs import ended, job, training, view

LONG = "table4+table5: a row whose name says its resolution, level and weight of distillation"


def test_a_job_is_told_at_its_start_at_its_epochs_and_at_its_end_and_each_once() -> None:
    lines, one = Lines(), job("a", "baseline", "pixel")
    running = replace(one, state="running")
    said = [list(lines.news(view([one], {})))]
    for epoch in (1, 1, 2):
        said.append([line for line, _ in lines.news(view([running], {"a": training(running, epoch=epoch)}))])
    done = ended(one, accuracy={"baseline": 0.5, "pixel": 0.75})
    said += [[line for line, _ in lines.news(view([done], {}))], list(lines.news(view([done], {})))]
    assert [len(each) for each in said] == [0, 2, 0, 1, 1, 0]
    assert "loss 0.25-0.35, acc 60-70" in str(said[3][0])
    assert "in 0:30, accuracy 50-75" in str(said[4][0])
    assert str(said[4][0]).split()[0] == "0:40"  # when it ended, not when that was seen


def test_a_job_of_many_epochs_gets_about_ten_lines_and_every_line_is_short() -> None:
    lines, one = Lines(), job("a", "baseline", "pixel", state="running", label=LONG)
    said = []
    for epoch in range(1, 301):
        now = training(one, epoch=epoch, num_epochs=300, clips_per_s=1234.0)
        said += [line for line, _ in lines.news(view([one], {"a": now}))]
    reason = "BadInput: step 00 does not fit into cuda:0, alone and one group at a time"
    failed = ended(one, "failed", reason=reason)
    said += [line for line, _ in lines.news(view([failed], {}))]
    assert len(said) in range(LINES_A_JOB, LINES_A_JOB + 4)
    assert max(map(len, said)) <= 120
    assert "BadInput" in said[-1]


def test_many_jobs_that_had_ended_before_the_first_look_are_one_line() -> None:
    lines = Lines()
    jobs = [ended(job(str(number)), "failed" if number == 7 else "done") for number in range(30)]
    (line, _), *others = lines.ended(view(jobs, {}))
    assert not others
    assert "29 done, 1 failed" in line
    later = [*jobs, ended(job("last"))]
    assert [line.split()[1] for line, _ in lines.ended(view(later, {}))] == ["done"]
