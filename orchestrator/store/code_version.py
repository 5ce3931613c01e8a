"""Which commit of the code trains a step."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

COMMIT_VARIABLE = "RESKD_COMMIT"
"""Set by `reskd submit`, whose uploaded packages are no checkout."""


def provenance() -> dict[str, Any]:
    """The code's commit, where it runs from a checkout or was submitted from one; recorded, never hashed."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is not None and git("status", "--porcelain", "--untracked-files=no"):
        commit += "+changes"
    return {"commit": commit or os.environ.get(COMMIT_VARIABLE)}
