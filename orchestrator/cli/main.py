"""Train and compare video models. Exit codes: 0 done, 1 something failed, 2 bad input, 3 interrupted and resumable."""

from __future__ import annotations

import gc
import inspect
import io
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer

from orchestrator.cli.catalogue import COMMANDS, Command, CommandGroup
from orchestrator.cli.console import error_console
from orchestrator.cli.environment import settle
from orchestrator.tracking.settings import configure as configure_mlflow
from reskd.errors import BadInput, ReskdError, reason_of
from reskd.faults import fault_of
from reskd.log_records import write_safe_logs
from reskd.passwords import without_passwords
from reskd.text import visible, without_commands


def _add(app: typer.Typer, entries: Sequence[Command | CommandGroup]) -> None:
    """Add a command. Typer lists commands before groups; as each is its own app, the order of the list is kept."""
    for entry in entries:
        if isinstance(entry, CommandGroup):
            group = typer.Typer(no_args_is_help=True)
            _add(group, entry.commands)
            app.add_typer(group, name=entry.name, help=entry.help, epilog=_epilog(entry.example))
        else:
            alone = typer.Typer()
            alone.command(entry.name, help=_help(entry.function), epilog=_epilog(entry.example))(entry.function)
            app.add_typer(alone)


def _help(function: Callable[..., None]) -> str:
    """The docstring with each paragraph on one line, so that `--help` wraps lines at the terminal's width."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _epilog(example: str | None) -> str | None:
    return f"Example: {example}" if example else None


app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help=__doc__,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_add(app, COMMANDS)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        try:
            number = version("reskd")
        except PackageNotFoundError:  # on a cluster the packages are uploaded, not installed
            number = "that is not installed"
        typer.echo(f"reskd {number}")
        raise typer.Exit


@app.callback()
def _options(
    is_asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """The console script. An error of the user or of the machine is one line; only a bug of ours has a traceback."""
    # Plans and tables of thousands of steps are many small objects that live to the end. Repeated garbage
    # collections of them took a fifth of a command's time in a measurement.
    gc.set_threshold(100_000, 50, 100)
    write_safe_logs()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    unused = [f"{name} of the environment is not used (docs/cluster.md)" for name in configure_mlflow()]
    try:
        for line in (*settle(), *unused):
            error_console.print(f"reskd: {line}", markup=False, soft_wrap=True)
        app()
    except BadInput as error:
        _fail(str(error), 2)
    except (ReskdError, ConnectionError) as error:  # ConnectionError: such as a store in S3 that does not answer
        _fail(str(error), 1)
    except SystemExit as stop:
        _end(3 if stop.code == 130 else stop.code)  # typer turns Ctrl-C into 130
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            sys.stderr.write(without_commands(without_passwords(traceback.format_exc())))
            sys.exit(1)
        _fail(fault.words, fault.exit_code)


def _fail(words: str, exit_code: int) -> NoReturn:
    lines = without_passwords(words).split("\n")
    shown = "\n".join(map(visible, lines))  # a name in it may hold what no terminal can show
    error_console.print(f"reskd: {shown}", markup=False, soft_wrap=True, highlight=False)
    sys.exit(exit_code)


def _end(code: str | int | None) -> NoReturn:
    """Leave with this code, or with 1 if what was printed does not arrive, such as in a file on a full disk."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = io.StringIO()  # Python would try again at its end, and print a traceback
        if not code and not isinstance(error, BrokenPipeError):  # a reader such as `head` has enough
            _fail(f"the output: {reason_of(error)}", 1)
    sys.exit(code)
