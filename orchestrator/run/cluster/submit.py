"""Runs sweeps as a Ray job on an existing cluster: submit, follow, list, stop."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

import orchestrator
import reskd
from orchestrator.experiment.one_schedule import refuse_apart, refuse_same_names
from orchestrator.run.cluster.shared_paths import refuse_relative_paths, refuse_relative_store
from orchestrator.run.cluster.upload import copy_package, left_out_line
from orchestrator.spec.sweep import load
from orchestrator.store.code_version import COMMIT_VARIABLE, provenance
from orchestrator.tracking.settings import URI_VARIABLE
from reskd.errors import BRACKETS, BadInput, ReskdError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10
POLL_S = 1.0
URI_FILE = ".tracking_uri"
"""The file of the upload that holds the tracking URI. No sweep file has such a name."""
BETWEEN = ", "
"""Separator of the sweep files' names in a job's description. A name may contain a space."""
TALKERS = ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
"""Loggers to silence. The last two have levels of their own."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job in the cluster's list."""

    id: str
    status: str
    sweep: str
    """Names of its sweep files."""
    started: str
    exit_code: int | None
    store: str | None = None
    """The store that its command names."""

    def is_of(self, name: str) -> bool:
        """Whether the job runs the sweep file with this name."""
        return name == self.sweep or name in self.sweep.split(BETWEEN)


def connect(address: str) -> JobSubmissionClient:
    """A client of the cluster's dashboard, after it has answered. Raises BadInput with what was tried."""
    try:
        parts = urlsplit(address)
    except ValueError as error:  # it is not shown, since it may hold a part of a password
        raise BadInput(f"--address {address}: {BRACKETS}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"--address {address}: write the dashboard's address, such as http://host:8265")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:  # ValueError: a port that is no number
        raise BadInput(f"--address {address}: nobody answers there ({error}); is Ray's dashboard up?") from error
    for talker in TALKERS:  # otherwise there is a line for each uploaded or ignored file
        logging.getLogger(talker).setLevel(logging.WARNING)
    with _answers(address):
        try:
            return JobSubmissionClient(address)
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"--address {address}: answers, but not as Ray's dashboard ({_first(error)})") from error


@contextmanager
def _answers(address: str) -> Iterator[None]:
    try:
        yield
    except AuthenticationError as error:
        raise BadInput(
            f"--address {address}: the cluster wants a token (401); export RAY_AUTH_MODE=token and put the cluster's "
            f"token in ~/.ray/auth_token (or name its file with RAY_AUTH_TOKEN_PATH)"
        ) from error
    except (ConnectionError, requests.RequestException) as error:
        raise BadInput(f"--address {address}: no connection to Ray's dashboard ({_first(error)})") from error


def _first(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def command_of(names: Sequence[str], *, changes: Sequence[str], store: str | None, has_uri: bool) -> str:
    """The shell command for the cluster. `names` are the names of the sweep files in the upload.

    Ray shows and logs a job's command and the variables of its environment. So a tracking URI, which may hold a
    password, comes in a file of the upload; ``has_uri`` says that there is one.
    """
    words = ["python", "-m", "orchestrator", "run", *names]
    for change in changes:
        words += ["--set", change]
    if store is not None:
        words += ["--store", store]
    read = f'{URI_VARIABLE}="$(chmod 600 {URI_FILE} && cat {URI_FILE})" ' if has_uri else ""
    return read + shlex.join(words)


def submit(
    paths: Sequence[Path],
    *,
    address: str,
    changes: Sequence[str] = (),
    store: str | None,
    tracking_uri: str | None,
    say: Callable[[str], None] = logger.warning,
) -> str:
    """Upload sweep files and both packages, and start `run` on the cluster. Returns the job's id.

    ``say`` gets a line on what was left out.

    Third-party packages must be in the cluster's image. Everything that can be checked here is checked before the
    upload.
    """
    paths = list(dict.fromkeys(paths))
    refuse_same_names(paths)
    refuse_apart([load(path, changes=changes) for path in paths])
    for path in paths:
        refuse_relative_paths(path, changes)
    if store is not None:
        refuse_relative_store(store)
    client = connect(address)
    names = [path.name for path in paths]
    variables = {"PYTHONUNBUFFERED": "1"}
    commit = provenance()["commit"]
    if commit:
        variables[COMMIT_VARIABLE] = commit
    with tempfile.TemporaryDirectory() as temporary, _answers(address):
        folder, modules = Path(temporary, "sweeps"), Path(temporary, "modules")
        folder.mkdir()
        for path in paths:
            shutil.copyfile(path, folder / path.name)
        if tracking_uri is not None:
            (folder / URI_FILE).write_text(tracking_uri, encoding="utf-8")
        packages = [Path(package.__path__[0]) for package in (reskd, orchestrator)]
        left_out = [name for package in packages for name in copy_package(package, modules)]
        if left_out:
            say(left_out_line(left_out))
        try:
            return client.submit_job(
                entrypoint=command_of(names, changes=changes, store=store, has_uri=tracking_uri is not None),
                submission_id=f"{_slug(paths[0].stem)}-{time.strftime('%m%d-%H%M%S')}-{os.urandom(2).hex()}",
                runtime_env={
                    "working_dir": str(folder),
                    "py_modules": [str(modules / package.name) for package in packages],
                    "env_vars": variables,
                },
                metadata={"sweep": BETWEEN.join(names)},
            )
        except RuntimeError as error:
            raise ReskdError(f"--address {address}: the cluster did not take the job: {_first(error)}") from error


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def follow(client: JobSubmissionClient, job: str, *, write: Callable[[str], None]) -> int:
    """Print the job's log until the job ends. Returns its own exit code, or 3 if somebody stopped it."""
    log = _Log(write)
    while True:
        with _answers(client.get_address()):
            has_ended = JobStatus(find(client, job).status).is_terminal()
            try:
                asyncio.run(log.tail(client, job))
            except (RuntimeError, aiohttp.ClientError) as error:
                # The dashboard may close a quiet connection; this does not affect the job.
                logger.info("the log of job %s is followed again: %s", job, error)
            if has_ended:
                return exit_code(client, job)
        time.sleep(POLL_S)


class _Log:
    """A job's log. Each character is written once, even if the log is read from its beginning again."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._written = write, 0

    async def tail(self, client: JobSubmissionClient, job: str) -> None:
        seen = 0
        async for text in client.tail_job_logs(job):
            new = text[max(0, self._written - seen) :]
            seen += len(text)
            if new:
                self._write(new)
                self._written += len(new)


def exit_code(client: JobSubmissionClient, job: str) -> int:
    details = find(client, job)
    if details.status == JobStatus.STOPPED.value:
        return 3
    if details.exit_code is not None:
        return details.exit_code
    return 0 if details.status == JobStatus.SUCCEEDED.value else 1


def find(client: JobSubmissionClient, job: str) -> JobLine:
    """The cluster's record of one job. Raises BadInput if the cluster does not know the id."""
    try:
        return _line(client.get_job_info(job))
    except RuntimeError as error:
        if "404" in str(error):
            address = client.get_address()
            raise BadInput(
                f"{job!r} is no job of {address}; its jobs are listed by `reskd status --address {address}`"
            ) from error
        raise ReskdError(f"job {job}: {_first(error)}") from error


def message_of(client: JobSubmissionClient, job: str) -> str:
    """Ray's message about the job, such as why it could not start."""
    return str(client.get_job_info(job).message or "")


def jobs(client: JobSubmissionClient) -> list[JobLine]:
    """The cluster's submitted jobs, newest first."""
    with _answers(client.get_address()):
        found = [details for details in client.list_jobs() if details.submission_id]
    return [_line(details) for details in sorted(found, key=lambda details: -(details.start_time or 0))]


def _line(details: object) -> JobLine:
    started = getattr(details, "start_time", None)
    return JobLine(
        id=str(details.submission_id),  # type: ignore[attr-defined]
        status=JobStatus(details.status).value,  # type: ignore[attr-defined]
        sweep=str((getattr(details, "metadata", None) or {}).get("sweep", "")),
        started=time.strftime("%Y-%m-%d %H:%M", time.localtime(started / 1000)) if started else "",
        exit_code=getattr(details, "driver_exit_code", None),
        store=_store_in(str(getattr(details, "entrypoint", ""))),
    )


def _store_in(command: str) -> str | None:
    """The value of --store in a command, in either form; None if there is none."""
    try:
        words = shlex.split(command)
    except ValueError:  # somebody else's command
        return None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == "--store":
            return following
        if word.startswith("--store="):
            return word.removeprefix("--store=")
    return None


def cancel(client: JobSubmissionClient, job: str) -> str:
    """Ask a job to stop, wait until it has ended, and return its last status."""
    if not JobStatus(find(client, job).status).is_terminal():
        with _answers(client.get_address()):
            client.stop_job(job)
        while not JobStatus(find(client, job).status).is_terminal():
            time.sleep(POLL_S)
    return find(client, job).status
