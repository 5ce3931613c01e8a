"""The command line, called in this process as a person types it."""

from __future__ import annotations

import sys

import pytest

from orchestrator.cli import main as cli


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and everything printed."""
    code, out, err = call_apart(monkeypatch, capsys, *arguments)
    return code, out + err


def call_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Exit code, and what was printed as output and as errors."""
    monkeypatch.setattr(sys, "argv", ["reskd", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err
