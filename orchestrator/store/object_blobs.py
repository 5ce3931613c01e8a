"""Stores blobs as objects below a prefix of a bucket: S3, and with the same code the stores of Google and Azure.

Endpoint, region and credentials come from the usual variables (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; GOOGLE_*; AZURE_*) or from a role of the machine. Only this module imports
obstore.
"""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import from_url

from orchestrator.store.store import SCHEMES
from reskd.blobs import Entry
from reskd.errors import BRACKETS, BadInput
from reskd.files import write_atomic

NAME = re.compile(r"[a-z0-9][a-z0-9.\-_]*")
MARKER = "reskd-store"
REQUEST_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 5
MAX_RETRIES = 10
MAX_RETRIES_AT_START = 3
"""Few, since the address or the credentials are wrong more often than a server is away just then."""
RETRY_TIMEOUT_S = 90
BACKOFF_S = (0.5, 10.0)
"""The first wait before a request is repeated, and the longest. Each may be twice the one before."""


class Unreachable(ConnectionError):
    """The store did not answer, or refused. This is no mistake of the recipe, so the step is tried again later."""


class ObjectBlobs:
    """The objects below ``s3://bucket/prefix`` (or gs://, az://). It can be pickled; the client is then created again.

    A request that the server does not answer is repeated for about a minute.

    cache: folder on this machine for copies of objects.
    """

    def __init__(self, url: str, *, cache: Path, max_retries: int = MAX_RETRIES) -> None:
        try:
            parts = urlsplit(url)
        except ValueError as error:  # it is not shown, since it may hold a part of a password
            raise BadInput(f"--store {url}: {BRACKETS}") from error
        if "@" in parts.netloc:
            raise BadInput(
                f"--store {url}: an address of a store holds no login; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if parts.scheme not in SCHEMES or not parts.netloc or parts.query or parts.fragment:
            raise BadInput(f"--store {url}: expected s3://bucket or s3://bucket/prefix (or gs://, az://)")
        if not NAME.fullmatch(parts.netloc):
            raise BadInput(
                f"--store {url}: {parts.netloc!r} is no bucket's name: lower-case letters, digits, '-' and '.'"
            )
        self.url = url.rstrip("/")
        self.cache = cache
        self._max_retries = max_retries
        self._made: Any = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "_lock": threading.Lock()})

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                server = urlsplit(endpoint())
                if endpoint() and (server.scheme not in ("http", "https") or not server.netloc):
                    raise BadInput(
                        f"--store {self.url}: AWS_ENDPOINT_URL is {endpoint()!r}; write it as https://host:port"
                    )
                options: dict[str, Any] = {
                    "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
                    "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                    "allow_http": endpoint().startswith("http://"),
                }
                retries: dict[str, Any] = {
                    "max_retries": self._max_retries,
                    "retry_timeout": timedelta(seconds=RETRY_TIMEOUT_S),
                    "backoff": {
                        "init_backoff": timedelta(seconds=BACKOFF_S[0]),
                        "max_backoff": timedelta(seconds=BACKOFF_S[1]),
                        "base": 2,
                    },
                }
                try:
                    self._made = from_url(self.url, client_options=options, retry_config=retries)  # type: ignore[call-overload]
                except (BaseError, ValueError) as error:
                    raise BadInput(f"--store {self.url}: {_line(error)}; correct the URL or its variables") from error
            return self._made

    def check(self) -> None:
        """Raise BadInput unless objects can be listed, read and written here, and conditions on writes are obeyed."""
        prompt = ObjectBlobs(self.url, cache=self.cache, max_retries=MAX_RETRIES_AT_START)
        try:
            prompt.folders("")  # listing a missing bucket is an error; reading it looks like an empty one
            prompt.create(MARKER, b"")
            heeds_absence = not prompt.create(MARKER, b"")
            heeds_match = not prompt.replace(MARKER, b"", f'"{uuid.uuid4().hex}"')
        except Unreachable as error:
            raise BadInput(
                f"--store {self.url}: {error}; correct the URL, AWS_ENDPOINT_URL or the credentials"
            ) from error
        if not heeds_absence or not heeds_match:
            raise BadInput(
                f"--store {self.url}: the server ignores If-None-Match or If-Match on writes, so two runs "
                f"could train the same step; use a server that heeds them, or a shared folder"
            )

    @property
    def address(self) -> str:
        return self.url

    def where(self, key: str) -> str:
        return f"{self.url}/{key}"

    def local(self, key: str) -> Path:
        """The object as a file in the cache.

        It is always downloaded, since a step may have been removed and trained again.
        """
        content = self.read(key)
        if content is None:
            raise FileNotFoundError(f"{self.where(key)}: no such object; was the step that makes it removed?")
        write_atomic(self.cache / key, content)
        return self.cache / key

    def read(self, key: str) -> bytes | None:
        return self.read_version(key)[0]

    def read_version(self, key: str) -> tuple[bytes | None, str | None]:
        with self._naming(key):
            try:
                found = obstore.get(self._client, key)
                return bytes(found.bytes()), found.meta["e_tag"]
            except (NotFoundError, FileNotFoundError):
                return None, None

    def exists(self, key: str) -> bool:
        with self._naming(key):
            try:
                obstore.head(self._client, key)
            except (NotFoundError, FileNotFoundError):
                return False
            return True

    def write(self, key: str, content: bytes) -> None:
        with self._naming(key):
            obstore.put(self._client, key, content)

    def create(self, key: str, content: bytes) -> bool:
        return self._put(key, content, "create") is not None

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        return self._put(key, content, {"e_tag": version})

    def _put(self, key: str, content: bytes, mode: Any) -> str | None:
        """Write in one request, since a multipart write cannot have a condition. Returns the new version; None where
        the condition did not hold."""
        with self._naming(key):
            try:
                return str(obstore.put(self._client, key, content, mode=mode, use_multipart=False)["e_tag"])
            except (AlreadyExistsError, PreconditionError, NotFoundError, FileNotFoundError):
                return None

    def entries(self, folder: str) -> list[Entry]:
        with self._naming(folder):
            found = obstore.list_with_delimiter(self._client, folder)["objects"]
            entries = [Entry(str(each["path"]), each["last_modified"].timestamp()) for each in found]
        return sorted(entries, key=lambda entry: entry.key)

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder."""
        with self._naming(folder):
            found = obstore.list_with_delimiter(self._client, folder or None)["common_prefixes"]
        return sorted(str(each).rpartition("/")[2] for each in found)

    def folders_with(self, folder: str, name: str) -> list[str]:
        parts = [key.removeprefix(f"{folder}/").split("/") for key in self._below(folder)]
        return sorted(part[0] for part in parts if part[1:] == [name])

    def _below(self, folder: str) -> list[str]:
        """Keys of all objects below a folder."""
        with self._naming(folder):
            return sorted(str(each["path"]) for page in obstore.list(self._client, folder) for each in page)

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        if doomed:
            with self._naming(doomed[0]), suppress(NotFoundError, FileNotFoundError):
                obstore.delete(self._client, doomed)

    def delete_folder(self, folder: str, *, last: str | None = None) -> None:
        below = self._below(folder)
        self.delete(key for key in below if key != last)
        self.delete(key for key in below if key == last)

    def delete_leftovers(self, folder: str) -> None:
        """Do nothing: objects are never written in part."""

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        """Turn obstore's errors into one that names the object and the endpoint."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError, NotFoundError, FileNotFoundError):
            raise
        except (BaseError, OSError) as error:
            at = f" at {endpoint()}" if endpoint() else ""
            raise Unreachable(f"{self.where(key)}{at}: {_line(error)}") from error


def endpoint() -> str:
    """The server in the settings; empty for the provider's own."""
    return os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""


def _line(error: BaseException) -> str:
    """The error on one line: the server's code and message if it answered."""
    text = " ".join(str(error).split()).partition(" Debug source:")[0]
    answer = re.search(r"<Code>(?P<code>.*?)</Code>.*?<Message>(?P<message>.*?)</Message>", text)
    return f"{answer['code']}: {answer['message']}" if answer else text
