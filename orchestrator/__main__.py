"""``python -m orchestrator`` is `reskd`: on a cluster the packages are uploaded, so no console script is installed."""

from __future__ import annotations

import os
import sys


def start() -> None:
    """Run the command line in Python's UTF-8 mode.

    Where the locale has another encoding, names of files and texts of other people's packages would be read and
    written in it. The mode cannot be switched on later, so the process then becomes a new Python, before anything
    heavy is loaded.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    from orchestrator.cli.main import main

    main()


if __name__ == "__main__":
    start()
