"""A sweep file with anything wrong in it, anywhere: it is a plan, or one BadInput that names the file."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.spec.sweep import load
from reskd.errors import MAX_LETTERS, BadInput
from tests.support.fuzz.sweeps import EVERYTHING
from tests.support.fuzz.trials import SWEEPS, trials

SEED = 0 if settings().derandomize else random.SystemRandom().randrange(10**6)
"""Another one in each `make test`; a failure says it."""


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def everything(before: str, after: str) -> str:
    assert EVERYTHING.count(before) == 1
    return EVERYTHING.replace(before, after)


def test_a_mutated_sweep_is_a_plan_or_one_line_about_the_file_within_5_s_and_1_gb() -> None:
    wrong = [trial for trial in trials(SWEEPS, seed=SEED, count=200) if not trial.is_right]
    assert not wrong, "\n".join(map(str, wrong))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(alphabet="{}[]:-,&*!|>%@`'\"#? \n\tab1.", max_size=60)))
def test_a_file_that_is_no_sweep_at_all_is_a_bad_input_that_names_it(content: bytes | str, tmp_path: Path) -> None:
    refusal(tmp_path / "junk.yaml", content)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        # An unknown key in a section that may be left out.
        ("grace_epochs", "grace_epoch", "'early_stopping.grace_epoch' is not a field of EarlyStopping; did you mean"),
        ("low: 10", "lo: 10", "'tables.all.expect.taught.test/top1.lo' is not a field of Expect"),
        # A field of two types: pydantic's name of the type is none of the key's.
        ("groups_per_pass: auto", "groups_per_pass: some", "'resources.groups_per_pass' must be"),
        ("groups_per_pass: auto", "groups_per_pass: {a: 1}", "'resources.groups_per_pass' must be"),
        # Numbers that no other part can reckon with.
        ("epochs: 4", f"epochs: {'9' * 4000}", "is too large; the largest is"),
        ("epochs: 4", f"epochs: {'9' * 5000}", "is too large; the largest is"),
        ("epochs: 4", f"epochs: -{2**63}", "is too large; the largest is"),
        ("budget_gpu_hours: 1000", "budget_gpu_hours: 1e999", "'resources.budget_gpu_hours' must be a finite number"),
        ("title: All", "title: " + "[" * 3000, "nested too deeply"),
        ("title: All", "title: " + "{a: " * 190 + "1" + "}" * 190, "nested too deeply"),
        ("title: All", 'title: "\\ud800"', "half of a letter"),
        ("views: 2x3", f"views: {'x' * 100_000}", "eval.views must be"),
        ("title: All", "title: e" + "\u0301" * 50_000, "more than 30 accents"),
        ("name: demo", "name: ..", "data.name must be a folder's name"),
        ("name: demo", "name: a/../../b", "data.name must be a folder's name"),
        ("root: data/demo", "train: ../train.csv", "data.train must be a path inside data.root"),
        ("root: data/demo", "val: /etc/passwd", "data.val must be a path inside data.root"),
        ("root: data/demo", "classes: a/../../b", "data.classes must be a path inside data.root"),
    ],
)
def test_what_once_was_a_traceback_or_a_hang_is_one_line(before: str, after: str, message: str, tmp_path: Path) -> None:
    said = refusal(tmp_path / "wrong.yaml", everything(before, after))
    assert message in said
    assert len(said) <= MAX_LETTERS


def test_a_large_batch_is_not_divided_by_every_number(tmp_path: Path) -> None:
    text = everything("batch_size: 16, group_size: 4", f"batch_size: {10**17}, group_size: 1")
    begun = time.process_time()
    said = refusal(tmp_path / "large.yaml", text.replace("workers: 2", "workers: 3").replace("max_cpus: 2, ", ""))
    assert "choose 1 or 2 or 4 or 5" in said
    assert time.process_time() - begun < 5


def test_seeds_and_rows_beyond_what_can_be_planned_are_refused_at_once(tmp_path: Path) -> None:
    first, last = EVERYTHING.index("seeds:"), EVERYTHING.index("resources:")
    seeds = "seeds: [" + ",".join(map(str, range(20_000))) + "]\n"
    begun = time.process_time()
    said = refusal(tmp_path / "seeds.yaml", EVERYTHING[:first] + seeds + EVERYTHING[last:])
    assert "11 rows x 20000 seeds are 220000 cells, more than 30000" in said
    grid = ", ".join(f"0.{number:03}" for number in range(100))
    said = refusal(
        tmp_path / "rows.yaml",
        everything("grid: {kd.weight: [1, 5]", f"grid: {{model.dropout: [{grid}], kd.weight: {list(range(1, 51))}"),
    )
    assert "'rows' lists more than 10000 rows" in said
    assert time.process_time() - begun < 5


def test_paths_out_of_the_root_are_allowed_by_a_field(tmp_path: Path) -> None:
    path = tmp_path / "outside.yaml"
    path.write_text(everything("root: data/demo", "allow_outside: true, train: ../lists/train.csv"))
    assert {cell.recipe.data.train for cell in load(path).cells} == {"../lists/train.csv"}


def test_a_file_that_is_too_large_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"")
    os.truncate(path, 2**40)  # a terabyte of nothing: reading them would not end
    with pytest.raises(BadInput, match=r"large\.yaml: cannot be read \(1,099,511,627,776 bytes; the limit is"):
        load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/zero")
def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(BadInput, match="a device, not a file"):
        load(Path("/dev/zero"))
