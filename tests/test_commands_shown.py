"""Every command that README, CONTRIBUTING, docs, sweeps or a cluster's files show is one that the programs take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from orchestrator.cli.catalogue import COMMANDS, Command
from orchestrator.cli.main import app
from reskd.throughput.__main__ import _parser as throughput_parser

ROOT = Path(__file__).parents[1]
PROGRAM = get_command(app)
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "sweeps").glob("*.yaml")),
    *sorted((ROOT / "deploy").iterdir()),
]
START = re.compile(r"(?:(?:\.venv/bin/)?reskd|python|make) ")
LINE = re.compile(r"^(?:[$#] *|entrypoint: )?(?P<command>(?:(?:\.venv/bin/)?reskd|python|make) .*?)(?:  +.*)?$")
"""A command on a line of its own: typed, in a comment of a sweep, or a job's entry point; two blanks begin a remark."""


def commands_in(text: str) -> Iterator[str]:
    """Commands between backticks, and those on lines of their own, where a backslash goes on."""
    for shown in re.findall(r"`([^`]+)`", re.sub(r"^ *```.*$", "", text, flags=re.MULTILINE)):
        if START.match(words := " ".join(shown.split())):
            yield words
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if (found := LINE.match(line.strip())) and "`" not in line:
            yield found["command"]


def fault(command: str) -> str | None:
    """Why the program does not take it, None where it does; a command's name alone stands for all of its uses."""
    # Of `STEP\\|SWEEP` and `cost | curves` the first; what a shell does after a pipe is not ours.
    words = shlex.split(command.replace("\\|", "/").partition(" | ")[0], comments=True)
    if words[0] == "make":
        missing = [target for target in words[1:2] if f"\n{target}:" not in (ROOT / "Makefile").read_text()]
        return f"no target {missing[0]}" if missing else None
    if words[0] == "python":
        return _module_fault(words[1:])
    return _reskd_fault(words[1:])


def _reskd_fault(words: list[str]) -> str | None:
    program = PROGRAM
    while isinstance(program, TyperGroup) and words and not words[0].startswith("-"):
        name, *words = words
        if name not in program.commands:
            return f"no command {name}"
        program = program.commands[name]
    if isinstance(program, TyperGroup) or not words:
        return None
    try:
        program.make_context(str(program.name), words).close()
    except TyperException as error:
        return f"{type(error).__name__}: {error}"
    return None


def _module_fault(words: list[str]) -> str | None:
    module = words[1] if words[0] == "-m" else words[0].removesuffix(".py").replace("/", ".")
    options = words[2:] if words[0] == "-m" else words[1:]
    if module.partition(".")[0] not in ("reskd", "benchmarks"):
        return None
    if module == "reskd.throughput":
        try:
            throughput_parser().parse_args(options)
        except SystemExit:
            return "its parser refuses this"
        return None
    folder = ROOT / module.replace(".", "/")
    path = folder / "__main__.py" if folder.is_dir() else folder.with_suffix(".py")
    if not path.is_file():
        return f"no file {path.name}"
    unknown = [word for word in options if word.startswith("--") and f'"{word}"' not in path.read_text()]
    return f"no option {unknown[0]}" if unknown else None


def test_every_command_shown_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://localhost:8265")  # as docs/cluster.md has it set
    shown = [(page.name, command) for page in PAGES for command in commands_in(page.read_text(encoding="utf-8"))]
    faults = [(name, command, why) for name, command in shown if (why := fault(command))]
    assert faults == []
    assert len(shown) > 100
    assert {"README.md", "cluster.md", "performance.md", "hpo.yaml", "kuberay-rayjob.yaml"} <= {
        page for page, _ in shown
    }


def test_every_example_of_the_help_is_taken() -> None:
    commands = [entry for group in COMMANDS for entry in ([group] if isinstance(group, Command) else group.commands)]
    assert [(command.example, why) for command in commands if (why := fault(command.example))] == []


@pytest.mark.parametrize(
    "command",
    [
        "reskd nothing",
        "reskd data nothing SWEEP",
        "reskd plan SWEEP --no-such-option",
        "reskd plan SWEEP --devices many",
        "reskd data pack SWEEP",
        "python -m reskd.throughput --nothing",
        "python -m benchmarks.nothing",
        "python -m benchmarks.gpu --nothing",
        "make nothing",
    ],
)
def test_a_command_that_is_none_is_found(command: str) -> None:
    assert fault(command)
