"""The first hour: a sweep file to start from, its schema for editors, and what the machine lacks."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.cli import doctor
from orchestrator.cli.main import app
from orchestrator.spec.json_schema import sweep_schema
from orchestrator.spec.sweep import load
from orchestrator.spec.yaml_text import parse_yaml, read_yaml
from reskd.errors import BadInput
from tests.support.command_line import call

SWEEPS = sorted((Path(__file__).parents[3] / "sweeps").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(sweep_schema())
    return jsonschema.Draft202012Validator(sweep_schema())


def changed(text: str) -> Any:
    """The demo's tree with one line's worth of YAML merged in at a dotted place, `base|kd: {level: clip}`."""
    tree: Any = read_yaml(SWEEPS[0].parent / "demo.yaml")
    place, _, value = text.partition("|")
    node = tree
    for key in filter(None, place.split(" ")):
        node = node[int(key) if key.isdigit() else key]
    node.update(parse_yaml(value))
    return tree


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_the_schema_takes_every_sweep_file_that_is_here(path: Path, schema: jsonschema.Draft202012Validator) -> None:
    schema.validate(read_yaml(path))


@pytest.mark.parametrize(
    "text",
    [
        "base kd|{temperature: 3}",
        "base|{teacher.seed: 4}",
        "base teacher|{seed: 4}",
        "base teacher|{model: {antialias: true}, optim.lr: 1}",
        "base|{teacher.optim: {lr: 1}}",
        "rows chain 0|{teacher: null}",
        "rows chain 0|{optim: {lr: 1}}",
        "rows|{grid: {optim: {lr: [1, .5]}, kd.level: [clip, none]}}",
        "rows|{zip: {row: [a, b], model.resolution: [24, 32]}}",
        "|{tables: {one: {columns: [GMACs]}}}",
    ],
)
def test_the_schema_takes_nested_and_dotted_keys(text: str, schema: jsonschema.Draft202012Validator) -> None:
    schema.validate(changed(text))


@pytest.mark.parametrize(
    "text",
    [
        "base|{kd.temprature: 3}",
        "base kd|{temprature: 3}",
        "base optim|{lr: high}",
        "base optim|{epochs: 1.5}",
        "base|{model.name: tsn_mini_10}",
        "base teacher|{kd.level: clip}",
        "base|{teacher.kd.level: clip}",
        "rows chain 0|{teacher.seed: 4}",
        "rows chain 0|{row: 7}",
        "rows|{grid: {optim.lr: 1}}",
        "rows|{grids: {optim.lr: [1]}}",
        "|{seeds: [0, 0]}",
        "|{seed: [0]}",
        "|{tables: {one: {columns: [GMACs], plot: pie}}}",
        "resources|{worker: 2}",
    ],
)
def test_the_schema_refuses_what_loading_refuses(
    text: str, schema: jsonschema.Draft202012Validator, tmp_path: Path
) -> None:
    assert not schema.is_valid(changed(text))
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(changed(text), sort_keys=False))
    with pytest.raises(BadInput):
        load(path)


def test_schema_writes_a_file_and_the_header_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.schema.json"
    code, text = call(monkeypatch, capsys, "schema", path)
    assert code == 0
    assert f"\n# yaml-language-server: $schema={path}\n" in text
    lr = json.loads(path.read_text())["$defs"]["Base"]["properties"]["optim.lr"]
    assert lr == {"description": "Peak learning rate.", "type": "number"}
    code, text = call(monkeypatch, capsys, "schema", path / "below_a_file.json")
    assert (code, f"{path}: File exists; it is no folder, name another place" in text) == (2, True)


def test_init_writes_a_sweep_that_plans_and_never_overwrites(
    tmp_path: Path, demo_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, path = tmp_path / "my clips", tmp_path / "new" / "mine.yaml"
    shutil.copytree(demo_root, videos)
    code, text = call(monkeypatch, capsys, "init", path, "--data", videos)
    assert code == 0
    assert load(path).cells[0].recipe.data.root == str(videos)
    code, text = call(monkeypatch, capsys, "plan", path, "--store", tmp_path / "store")
    assert code == 0
    assert "not seen here" not in text  # it found the videos
    before = path.read_text()
    assert "your_videos" not in before
    assert f"reskd run {path}" in before
    code, text = call(monkeypatch, capsys, "init", path)
    assert (code, "exists already" in text, path.read_text()) == (2, True, before)
    code, text = call(monkeypatch, capsys, "init", tmp_path / "other.yaml", "--data", tmp_path)
    assert (code, "has no train.csv and no val.csv" in text) == (2, True)
    assert not (tmp_path / "other.yaml").exists()


def test_init_without_a_folder_writes_the_sweep_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, capsys, "init")[0] == 0
    assert load(Path("your_videos.yaml")).cells == load(SWEEPS[0].parent / "your_videos.yaml").cells


@pytest.mark.slow  # it loads Ray and MLflow in processes of their own
def test_doctor_tries_each_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "not" / "yet"
    code, text = call(monkeypatch, capsys, "doctor", "--store", store, "--json")
    found = {finding["what"]: finding for finding in json.loads(text)}
    assert code == 0
    assert {"Python", "torch", "CUDA", "decoder pyav", "Ray", "MLflow", "store", "memory"} <= found.keys()
    assert "8 frames encoded" in found["decoder pyav"]["found"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["Ray"]["found"])
    assert not store.exists()


def test_doctor_says_what_to_do_where_a_thing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "not" / "yet"
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 8), (3, 9)))
    monkeypatch.setattr(doctor, "IMPORT_TIMEOUT_S", 0.001)  # so that the imports are seen to be missing
    code, text = call(monkeypatch, capsys, "doctor", "--store", store)
    assert code == 1
    assert "use Python 3.8 to 3.8" in text
    assert text.count("no import within") == 2


def test_every_command_has_help_with_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.main import get_command

    commands = dict(get_command(app).commands)  # type: ignore[attr-defined]
    grouped = [command for group in ("data", "figures") for command in commands.pop(group).commands.values()]
    for command in [*commands.values(), *grouped]:
        assert command.help, command.name
        assert f" {command.name}" in (command.epilog or ""), f"{command.name} has no example in its help"
    code, text = call(monkeypatch, capsys, "why", "--help")
    assert (code, "Example: reskd why" in text) == (0, True)
