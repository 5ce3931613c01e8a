"""Several sweeps as one schedule: whose rows are whose, and what cannot be in one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.experiment.one_schedule import in_one_schedule, joined_name, refuse_same_names
from orchestrator.store.store import Store
from reskd.errors import BadInput
from tests.support.command_line import call
from tests.support.unseen_sweep import PIXEL, SAME, write_unseen

TEACHER = "{row: big, kd.level: none, model.name: tsn_mini18, model.resolution: 64, eval.views: 2x1}"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two sweeps with the row `pixel` in common, whose teacher is a row of the second; and one without it."""
    return [
        write_unseen(tmp_path / "first.yaml", PIXEL),
        write_unseen(tmp_path / "second.yaml", SAME, TEACHER),
        write_unseen(tmp_path / "third.yaml", "{row: small, kd.level: none}"),
    ]


def prepared(paths: list[Path], tmp_path: Path) -> list[Prepared]:
    return [prepare(path, store=Store(tmp_path / "store")) for path in paths]


def test_two_sweeps_are_one_with_rows_named_after_them_and_each_step_once(files: list[Path], tmp_path: Path) -> None:
    first, second = prepared(files[:2], tmp_path)
    whole = in_one_schedule([first, second])
    assert whole.steps.keys() == first.steps.keys() | second.steps.keys()
    shared = first.steps.keys() & second.steps.keys()
    rows = {row for step_id in shared for row, _ in whole.steps[step_id].cells}
    assert rows == {"first: pixel", "second: ours", "second: big"}
    plan = whole.plan()
    assert [cell.row for cell in plan.cells].count("second: big") == 2
    trained = [member for job in plan.jobs for member in job.members]
    assert sorted(trained) == sorted(whole.steps)
    assert in_one_schedule([first]) is first


def test_a_teacher_that_is_a_row_elsewhere_is_tested_as_that_row_says(files: list[Path], tmp_path: Path) -> None:
    for order in ((0, 1), (1, 0)):
        whole = in_one_schedule(prepared([files[index] for index in order], tmp_path))
        teachers = {step.teacher_id for step in whole.steps.values()} - {None}
        assert {whole.steps[str(teacher)].recipe.test_protocol.num_views for teacher in teachers} == {2}


def test_budgets_of_all_files_are_added_up_where_all_have_one(files: list[Path], tmp_path: Path) -> None:
    for path, budget in zip(files, (1, 2, None), strict=True):
        path.write_text(f"{path.read_text()}resources: {{budget_gpu_hours: {budget or 'null'}}}\n")
    found = prepared(files, tmp_path)
    assert in_one_schedule(found[:2]).sweep.resources.budget_gpu_hours == 3
    assert in_one_schedule(found).sweep.resources.budget_gpu_hours is None
    whole = in_one_schedule(found[:2])
    forecast = replace(whole.plan().forecast, device_hours=3.5)
    with pytest.raises(BadInput, match=r"first\.yaml, .*second\.yaml: about 3\.5 .* above the budget of 3;"):
        whole.refuse(forecast)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("resources: {workers: 2}", r"third\.yaml: 'resources\.workers' is 2, and 1 in .*--set resources\.workers"),
        ("cohort: {max_members: 2}", r"third\.yaml: 'cohort\.max_members' is 2"),
        ("early_stopping: {rows: [small]}", r"third\.yaml: 'early_stopping' .* run this file alone"),
    ],
)
def test_sweeps_that_one_schedule_cannot_serve_are_refused(
    files: list[Path], tmp_path: Path, more: str, says: str
) -> None:
    files[2].write_text(f"{files[2].read_text()}\n{more}\n")
    with pytest.raises(BadInput, match=says):
        in_one_schedule(prepared(files, tmp_path))
    in_one_schedule(prepared(files[2:], tmp_path))  # by itself it may have all of that


def test_groups_chosen_by_the_steps_of_one_sweep_are_not_mixed_with_others(files: list[Path], tmp_path: Path) -> None:
    for path in files:
        path.write_text(f"{path.read_text()}\nresources: {{groups_per_pass: auto}}\n")
    with pytest.raises(BadInput, match=r"first\.yaml: 'resources\.groups_per_pass' is auto"):
        in_one_schedule(prepared(files, tmp_path))


def test_one_step_with_two_tests_at_its_end_is_refused_whichever_files_ask(files: list[Path], tmp_path: Path) -> None:
    files[1].write_text(files[1].read_text().replace("row: ours,", "row: ours, eval.views: 1x3,"))
    third, first, second = files[2], files[0], files[1]
    with pytest.raises(BadInput, match=r"second\.yaml: row 'ours' and row 'pixel' of .*first\.yaml are one training"):
        in_one_schedule(prepared([third, first, second], tmp_path))


def test_files_of_one_name_are_refused_before_anything_is_read(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_same_names(files)
    for options in ((), ("--smoke",)):
        other = tmp_path / "other" / "first.yaml"  # which is not there
        code, text = call(monkeypatch, capsys, "run", files[0], other, "--store", tmp_path / "store", *options)
        assert code == 2
        assert "both the sweep 'first'" in text
    assert not list((tmp_path / "store").iterdir())


def test_smoke_forms_hide_nothing_that_keeps_sweeps_apart(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text(f"{files[1].read_text()}\nearly_stopping: {{rows: [ours]}}\n")
    code, text = call(monkeypatch, capsys, "run", *files, "--smoke", "--store", tmp_path / "store")
    assert code == 2
    assert "'early_stopping' may stop" in text
    assert not (tmp_path / "store" / "smoke").exists()


def test_a_name_of_many_sweeps_fits_a_file_system_and_tells_them_apart() -> None:
    many = [f"a_name_of_some_length_{index}" for index in range(20)]
    names = {joined_name(many), joined_name(many[:-1])}
    assert len(names) == 2
    assert all(name.startswith("a_name_of_some_length_0+") for name in names)
    names |= {joined_name(["é" * 100, "b"]), joined_name(["a" * 200, "b"])}
    assert all(len(name.encode()) <= 120 for name in names)
    assert joined_name(many[:2]) == "a_name_of_some_length_0+a_name_of_some_length_1"
