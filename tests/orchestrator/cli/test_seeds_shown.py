"""The seed that is shown is the sweep's, everywhere; of a shared teacher, `teacher.seed`."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import orchestrator
from orchestrator.experiment.bound_sweep import prepare
from orchestrator.experiment.step_figures import step_words
from orchestrator.run.display.words import label
from orchestrator.spec.steps import name_and_seed
from orchestrator.store.step_record import read_step, records_from_store
from orchestrator.tracking.registry import choose_models
from reskd.recipe import Recipe
from tests.support.command_line import call
from tests.support.stored_sweep import SWEEP, StoredSweep

ROW, SEED, TEACHER_SEED = "pixel-level MSE", 7, 5


@pytest.fixture
def stored(tmp_path: Path) -> StoredSweep:
    """One row and seed, finished, and the baseline not; the teacher has a seed of its own."""
    text = SWEEP.replace("optim.epochs: 3}", f"optim.epochs: 3, seed: {TEACHER_SEED}}}")
    text = re.sub(r"    - {row: clip.*\n", "", text)
    stored = StoredSweep(tmp_path, seeds=(SEED,), text=text)
    stored.steps = prepare(stored.sweep.path, store=stored.store).steps
    for step_id in (stored.teacher_of(ROW, SEED), stored.id_of(ROW, SEED)):
        step = stored.steps[step_id]
        stored.store.record_identity(step_id, full_id=step.full_id, payload=step.payload, recipe={})
        stored.finish(step_id, 0.5)
    return stored


def test_every_place_shows_the_sweeps_seed(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    student, teacher = stored.id_of(ROW, SEED), stored.teacher_of(ROW, SEED)
    expected = {student: SEED, stored.id_of("baseline", SEED): SEED, teacher: TEACHER_SEED}
    where = (stored.sweep.path, "--store", stored.store.home)

    _, text = call(monkeypatch, capsys, "status", *where, "--json")
    assert {row["step"]: row["seed"] for row in json.loads(text)} == expected
    _, text = call(monkeypatch, capsys, "plan", *where)
    shown = {step_id: int(seed) for seed, step_id in re.findall(r"\b([0-9]+) +[0-9]+ +([0-9a-f]{8})\b", text)}
    assert shown == {step_id[:8]: seed for step_id, seed in expected.items()}
    assert "seed 7: baseline" in text  # the board's words for a job, which a plan shows too

    prepared = prepare(stored.sweep.path, store=stored.store)
    [job] = prepared.plan().jobs
    assert label(job, prepared.steps) == "seed 7: baseline"
    contents = {step_id: read_step(stored.store, stored.steps[step_id], steps=stored.steps) for step_id in expected}
    assert contents[student].name == name_and_seed(stored.steps[student]) == f"{ROW}, seed 7"
    assert contents[teacher].name.endswith(", seed 5")
    chosen = choose_models(stored.sweep, stored.steps, records_from_store(stored.store, stored.steps))
    assert {model.step_id: model.alias for model in chosen} == {student: "seed-7", teacher: "seed-5"}
    assert step_words(stored.steps[teacher].recipe).endswith(", seed 5")


def test_steps_that_two_sweeps_share_have_the_sweeps_seed(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = stored.sweep.path.with_name("other.yaml")
    other.write_text(stored.sweep.path.read_text())
    _, text = call(monkeypatch, capsys, "plan", stored.sweep.path, other, "--json", "--store", stored.store.home)
    seeds = sorted(step["seed"] for step in json.loads(text)["union"]["shared"])
    assert seeds == [TEACHER_SEED, SEED, SEED]


def test_a_recipe_in_python_may_have_two_seeds_and_shows_the_models() -> None:
    assert replace(Recipe(), data_seed=1, model_seed=2).seed == 2


def test_no_module_of_the_orchestrator_reads_a_seed_another_way() -> None:
    """`Recipe.seed` is what is shown; the two that make it up are set together, in expand."""
    folder = Path(orchestrator.__file__).parent
    found = [
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("data_seed", "model_seed")
    ]
    assert found == []
