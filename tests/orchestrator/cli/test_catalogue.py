"""The list of commands: complete, in the order of `--help`, each with an example of itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import typer

from orchestrator.cli import commands
from orchestrator.cli.catalogue import COMMANDS, Command, CommandGroup
from orchestrator.cli.main import app

ROOM = Path(commands.__file__).parent


def listed(
    entries: tuple[Command | CommandGroup, ...] = COMMANDS, *words: str
) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every command and the words that are typed for it."""
    for entry in entries:
        if isinstance(entry, CommandGroup):
            yield from listed(entry.commands, *words, entry.name)
        else:
            yield (*words, entry.name or entry.function.__name__.replace("_", "-")), entry


def test_every_file_of_the_room_is_one_command_of_the_list() -> None:
    files = {path.relative_to(ROOM) for path in ROOM.rglob("*.py") if path.name not in ("__init__.py", "shared.py")}
    found = [command.function.__module__ for _, command in listed()]
    names = [Path(*name.removeprefix(f"{commands.__name__}.").split(".")).with_suffix(".py") for name in found]
    assert sorted(names) == sorted(files)


def test_help_lists_the_commands_in_the_order_of_the_list() -> None:
    root = typer.main.get_command(app)

    def words_of(command: object, *words: str) -> Iterator[tuple[str, ...]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield words
        for name, one in (inner or {}).items():
            yield from words_of(one, *words, name)

    assert list(words_of(root)) == [words for words, _ in listed()]


def test_every_example_is_of_its_own_command_and_its_words_are_taken() -> None:
    """Parsed, not run: a wrong option or one value too many would be an error."""
    root = typer.main.get_command(app)
    for words, command in listed():
        typed = shlex.split(command.example)
        assert typed[: len(words) + 1] == ["reskd", *words]
        one = root
        for word in words:
            one = one.commands[word]  # type: ignore[attr-defined]
        one.make_context(words[-1], typed[len(words) + 1 :])
