"""Which commit of the code trains a step."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

COMMIT_VARIABLE = "RESKD_COMMIT"
"""Environment variable that `reskd submit` sets, since the uploaded packages are not a checkout."""


OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
"""Variables by which git reads another repository: in a hook, the one that is committed to."""


def provenance() -> dict[str, Any]:
    """The commit of the checkout that runs, or from which the job was submitted.

    It is recorded, but not part of the identity.
    """
    folder = Path(__file__).parent
    elsewhere = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=10,
                env=elsewhere,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is not None and git("status", "--porcelain", "--untracked-files=no"):
        commit += "+changes"
    return {"commit": commit or os.environ.get(COMMIT_VARIABLE)}
