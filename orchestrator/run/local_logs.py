"""The logs of the runs of this machine: what they are called, which is the newest, and following one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.spec.overrides import shell_name
from orchestrator.store.store import Store

NAME = re.compile(r"(?P<sweep>.+)-\d{8}-\d{6}\.log")
POLL_S = 0.5


def new_log(store: Store, sweep: str) -> Path:
    """The file for the output of Ray and its workers in a run that starts now."""
    return store.home / "logs" / f"{shell_name(sweep)}-{time.strftime('%Y%m%d-%H%M%S')}.log"


def newest_log(store: Store, *, file: str | None = None) -> Path | None:
    """The newest log; None without any. ``file``: only of runs of the sweep file with this name, alone or with others,
    and with any --set."""
    found = [path for path in (store.home / "logs").glob("*.log") if _is_of(path.name, file)]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _is_of(name: str, file: str | None) -> bool:
    match = NAME.fullmatch(name)
    return match is not None and (file is None or file == match["sweep"] or file in re.split(r"[+~]", match["sweep"]))


def follow_log(
    path: Path,
    *,
    write: Callable[[str], None],
    goes_on: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Write the log from its beginning, and what is added, as long as ``goes_on``."""
    with open(path, encoding="utf-8", errors="replace") as file:
        while True:
            is_last = not goes_on()
            while text := file.read(1 << 16):
                write(text)
            if is_last:
                return
            pause(POLL_S)
