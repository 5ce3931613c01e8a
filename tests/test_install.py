"""What `make install` leaves is imported from anywhere, from beside a clone too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_folder_named_reskd_where_python_starts_does_not_hide_the_package(tmp_path: Path) -> None:
    """The folder that holds a clone has a folder `reskd` without an __init__, a namespace package to Python.

    A regular package on sys.path goes before it, which an editable install's finder is asked too late for.
    """
    (tmp_path / "reskd" / "docs").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-c", "import reskd.data, orchestrator.spec; print(reskd.__file__)"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, f"{ended.stderr}\ninstall it again: pip install --editable ."
    assert Path(ended.stdout.strip()).parts[-2:] == ("reskd", "__init__.py")
