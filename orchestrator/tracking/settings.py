"""Settings of MLflow, what it may take from the environment, and texts cut to the lengths that it accepts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from reskd.errors import BRACKETS, BadInput
from reskd.passwords import without_passwords

URI_VARIABLE = "MLFLOW_TRACKING_URI"
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


KEPT = (
    "MLFLOW_TRACKING_",
    "MLFLOW_HTTP_",
    "MLFLOW_S3_",
    "MLFLOW_GCS_",
    "MLFLOW_BOTO_",
    "MLFLOW_MYSQL_",
    "MLFLOW_KERBEROS_",
)
"""Beginnings of the variables by which a person says how to reach a tracking server: its address, credentials,
certificates, timeouts."""
ALSO_KEPT = ("MLFLOW_WORKSPACE", "MLFLOW_ALLOW_HTTP_REDIRECTS", "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT")
OF_MLFLOW = ("MLFLOW_", "_MLFLOW_")


def is_unused(name: str) -> bool:
    """Whether it is a variable of MLflow's that must not decide what our runs are or where they go.

    MLFLOW_REGISTRY_URI would send models elsewhere, MLFLOW_ENABLE_ASYNC_LOGGING would hide errors, and so on.
    """
    return name.startswith(OF_MLFLOW) and not name.startswith(KEPT) and name not in (*ALSO_KEPT, *SETTINGS)


def configure() -> list[str]:
    """Apply our settings of MLflow, unless the environment has others, and reduce its log output.

    Variables that `is_unused` names are taken out of this process's environment; returns their names. MLflow reads some
    variables at import. So call this before the modules that publish are loaded.
    """
    unused = sorted(filter(is_unused, os.environ))
    for name in unused:
        del os.environ[name]
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # logs every table that it creates
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # logs a warning at every retry
    return unused


def refuse_files(uri: str) -> None:
    """Raise BadInput for the URI of a folder of files, which MLflow no longer writes, and for what is no URI."""
    try:
        scheme = urlsplit(uri).scheme
    except ValueError as error:  # such as http://[::1:5000; it is not shown, since it may hold a part of a password
        raise BadInput(f"tracking URI {uri}: {BRACKETS}") from error
    if scheme in ("", "file") and not uri.startswith("databricks"):
        raise BadInput(
            f"tracking URI {uri}: MLflow no longer keeps runs in a folder of files; name a server (http://host:5000) "
            f"or a database (sqlite:////folder/mlflow.db), or unset {URI_VARIABLE} to use the store's own database"
        )


def first_line(error: BaseException) -> str:
    """The first line of an error, shortened for a message."""
    line = without_passwords((str(error).splitlines() or [type(error).__name__])[0])
    return line if len(line) <= 200 else f"{line[:200]}..."


def equals(attribute: str, value: str) -> str:
    """MLflow's filter for what has this value as its attribute: `name`, or a tag, "tags.`key`".

    Its language has two quotation marks and no escapes. Raises BadInput for a value that holds both.
    """
    if "'" in value and '"' in value:
        raise BadInput(f"{attribute}: {value!r} holds both kinds of quotation marks, so MLflow cannot look for it")
    mark = '"' if "'" in value else "'"
    return f"{attribute} = {mark}{value}{mark}"


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
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text if len(text) <= MAX_NOTE else f"{len(text)} characters: {ELSEWHERE}"
