"""What `reskd ls` lists: every step of a store, with nothing but the store to ask."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from orchestrator.cli.show_contents import show_contents
from orchestrator.cli.words import STYLES
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.store.contents import contents
from tests.support.command_line import call


def test_every_step_is_listed_as_its_sweep_knows_it(trained_sweep: Prepared) -> None:
    rows = {row["step"]: row for row in contents(trained_sweep.store)}
    assert set(rows) == set(trained_sweep.steps)
    for step_id, step in trained_sweep.steps.items():
        row, done = rows[step_id], trained_sweep.store.done(step_id)
        assert done is not None
        assert (row["state"], row["seed"], row["data"]) == ("done", step.recipe.seed, step.recipe.data.name)
        assert (row["epoch"], row["num_epochs"]) == (step.recipe.optim.epochs, step.recipe.optim.epochs)
        assert row["accuracy"] == done["metrics"]["test/top1"]
        assert row["model"] == step.recipe.model.words
        assert row["taught"].startswith(step.recipe.kd.level) == step.recipe.has_teacher
    assert {row["state"] for row in rows.values()} <= set(STYLES)


def test_the_list_fits_into_80_columns(trained_sweep: Prepared) -> None:
    console = Console(file=io.StringIO(), width=80)
    show_contents(contents(trained_sweep.store), trained_sweep.store, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines[:-1])) <= 80
    for step_id in trained_sweep.steps:
        assert any(line.startswith(step_id[:8]) for line in lines)
    assert lines[-1].endswith(f"{len(trained_sweep.steps)} steps: {len(trained_sweep.steps)} done")


def test_ls_and_status_without_a_sweep_print_the_same(
    trained_sweep: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--store", trained_sweep.store.address)
    printed = [call(monkeypatch, capsys, command, *place) for command in ("ls", "status")]
    assert printed[0] == printed[1]
    assert printed[0][0] == 0
    _, text = call(monkeypatch, capsys, "ls", *place, "--json")
    assert json.loads(text) == contents(trained_sweep.store)
    code, text = call(monkeypatch, capsys, "status", *place, "--set", "seeds=[1]")
    assert code == 2
    assert "--set changes a sweep file" in text


def test_an_empty_store_says_so(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = call(monkeypatch, capsys, "ls", "--store", f"{tmp_path}/store")
    assert code == 0
    assert text.strip().endswith("store: 0 steps")
