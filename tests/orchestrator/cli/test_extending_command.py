"""The page that says how to add a command, done to a copy of the packages and typed in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.folder import Store

ROOT = Path(__file__).parents[3]


def put(source: str, text: str, place: str) -> str:
    """A file with a block put into its place."""
    if place == "among the imports":
        first = source.index("from orchestrator.cli.commands.")
        return source[:first] + text + source[first:]
    assert place == "in COMMANDS"
    assert source.endswith("\n)\n"), "COMMANDS is the last thing in its file"
    return source.removesuffix(")\n") + text + ")\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The two packages with the page's blocks put where their first lines say."""
    for package in ("orchestrator", "reskd"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "extending_command.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        head, text = block.split("\n", 1)
        name, _, place = head.removeprefix("# ").partition(", ")
        file = tmp_path / name
        if place:
            file.write_text(put(file.read_text(), text, place))
        else:
            assert not file.exists(), f"{name} is there already"
            file.write_text(text)
    return tmp_path


def typed(copy: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_of_the_page_is_listed_last_and_names_the_steps_of_a_store(copy: Path) -> None:
    store = Store(copy / "store")
    for step_id in ("a" * 16, "b" * 16):
        store.record_identity(step_id, full_id=step_id * 4, payload={}, recipe={})
    store.start("b" * 16, {"workers": 1, "threads": 1, "started_ms": 1, "host": "here"}, afresh=True)
    store.finish("b" * 16, {}, {"metrics": {}, "damaged": []})
    assert typed(copy, "ls", "--store", store.home).splitlines() == [
        f"{'a' * 16}  not finished",
        f"{'b' * 16}  finished",
    ]
    listed = re.findall(r"^│ ([a-z]+) ", typed(copy, "--help"), flags=re.MULTILINE)
    assert listed[-2:] == ["data", "ls"]
