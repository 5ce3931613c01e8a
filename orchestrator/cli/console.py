"""The consoles of the command line, and the name it was called by."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from orchestrator.run.console import make_console

console = make_console()
error_console = make_console(stderr=True)


def program_name() -> str:
    """The name by which this program was called. Commands that it prints use this name, so that they can be copied.

    A submitted job is called as `python -m orchestrator`; its log is read where `reskd` is installed.
    """
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "reskd"
    on_path = shutil.which(called.name)
    if on_path is not None and Path(on_path).resolve() == called.resolve():
        return called.name
    return os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called)
