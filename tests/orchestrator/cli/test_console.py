"""The name in the commands that a program prints: what the person can type where they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.cli.console import program_name


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "reskd"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_script_on_the_path_is_called_by_its_name(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr(sys, "argv", [str(script), "run"])
    assert program_name() == "reskd"


def test_a_script_beside_the_path_is_called_by_its_place(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [str(script), "run"])
    monkeypatch.chdir(script.parents[1])
    assert program_name() == "bin/reskd"


def test_in_a_submitted_job_it_is_the_command_and_no_file_of_rays_session(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script.parent / "session_1" / "py_modules_files" / "orchestrator" / "__main__.py"
    monkeypatch.setattr(sys, "argv", [str(module), "run", "demo.yaml"])
    monkeypatch.chdir(script.parent)
    assert program_name() == "reskd"
