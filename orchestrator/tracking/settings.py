"""Settings of MLflow, checks of its URI, and texts cut to the lengths that it accepts."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.store.store import Store
from reskd.errors import BadInput

SQLITE = "sqlite:///"
MAX_NOTE = 20_000
"""Most characters that MLflow accepts in an experiment's tag."""
HARD_SPACES = "\u00a0" * 3
ELSEWHERE = "among the artifacts of the run `report`"

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Seconds instead of minutes until a server counts as gone.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def configure() -> None:
    """Apply our settings of MLflow, unless the environment has others, and reduce its log output.

    MLflow reads some of them at import. So call this before the modules that publish are loaded.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # logs every table that it creates
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # logs a warning at every retry


def check_database(uri: str) -> None:
    """Raise BadInput for a database file that cannot exist, which SQLAlchemy would try to open for minutes."""
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    if not path.parent.is_dir():
        raise BadInput(f"tracking URI {uri}: there is no folder {path.parent}; make it or name another")
    if not path.exists():
        return
    if not path.is_file():
        raise BadInput(f"tracking URI {uri}: not a file; name another")
    with open(path, "rb") as file:
        if file.read(16) not in (b"", b"SQLite format 3\0"):
            raise BadInput(f"tracking URI {uri}: not a database; name another file or remove this one")


def uri_of(store: Store, tracking_uri: str | None) -> str:
    """The tracking server if one is named, else the store's own database."""
    return tracking_uri or f"{SQLITE}{store.mlflow_db}"


@contextmanager
def only_writer(store: Store) -> Iterator[None]:
    """Lock out other writers on this host. MLflow has no unique tags, so two writers could create the same run."""
    with open(store.home / "mlflow.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def without_password(uri: str) -> str:
    """The URI without its password, for messages."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def first_line(error: BaseException) -> str:
    """The first line of an error, shortened for a message."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 200 else f"{line[:200]}..."


def note_of(report: str, *, page: str, links: Mapping[str, str] | None = None) -> str:
    """A report as the experiment's description, cut to the allowed length.

    Links lead to `page`, an address with {name} in it. The figure becomes a link, since the description would cut it.
    `links`, words -> address, follow the heading.
    """
    heading, line_end, rest = report.partition("\n")
    heading = re.sub("^# (.*)", r"**\1**", heading)  # collapsed, it shows one line, or half a heading
    if links:
        listed = " · ".join(f"[{words}]({address})" for words, address in links.items())
        line_end = f"\n\n{listed}\n"
    text = re.sub(r"!?(\[[^]]*\])\(([\w.-]+)\)", lambda link: f"{link[1]}({page.format(name=link[2])})", rest)
    text = heading + line_end + text
    text = "".join(_spaced(line) for line in text.splitlines(keepends=True))
    if len(text) <= MAX_NOTE:
        return text
    ending = f"\n\nThe whole report is {ELSEWHERE}."
    return text[: MAX_NOTE - len(ending)].rpartition("\n")[0] + ending


def _spaced(line: str) -> str:
    """A table's row with hard spaces at the ends of its cells, since MLflow leaves no space between columns."""
    is_row = line.startswith("| ") and not line.startswith("| ---")
    return line.replace(" |", f"{HARD_SPACES} |") if is_row else line


def sweep_text(path: Path) -> str:
    """A sweep file as a tag of its experiment."""
    text = path.read_text() if path.is_file() else ""
    return text if len(text) <= MAX_NOTE else f"{len(text)} characters: {ELSEWHERE}"
