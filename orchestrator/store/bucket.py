"""Objects under one prefix of an S3 bucket: read, write, write on a condition, list, delete. The only import of boto3.

Endpoint, region and credentials come from boto3's own settings: AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE,
AWS_ACCESS_KEY_ID and so on, or a role of the machine.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from reskd.errors import BadInput

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as error:
    raise BadInput(f"--store s3://...: needs boto3 ({error}); install it with: pip install 'reskd[s3]'") from error

ABSENT = ("404", "NoSuchKey", "NotFound")
NOT_MET = ("409", "412", "PreconditionFailed", "ConditionalRequestConflict")
MARKER = "reskd-store"
MAX_DELETED = 1000
"""Keys that one request may delete."""


class Unreachable(ConnectionError):
    """The store did not answer, or refused: not a mistake in a recipe, so the step is tried again later."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing shows it; `key` is relative to the prefix."""

    key: str
    etag: str
    modified: datetime


class Bucket:
    """``s3://bucket/prefix``; all keys are relative to the prefix. May be pickled: the client is made again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise BadInput(f"--store {url}: expected s3://bucket or s3://bucket/prefix")
        self.name = parts.netloc
        self.prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self.url = f"s3://{self.name}/{self.prefix}".rstrip("/")
        self._made: Any = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "_lock": threading.Lock()})

    @property
    def _client(self) -> Any:
        with self._lock:  # making a client is not safe in two threads at once; using one is
            if self._made is None:
                retries = {"mode": "standard", "total_max_attempts": 4}
                config = Config(retries=retries, connect_timeout=5, read_timeout=60, max_pool_connections=32)
                try:
                    self._made = boto3.session.Session().client("s3", config=config)
                except (BotoCoreError, ValueError) as error:
                    raise BadInput(f"--store {self.url}: {_line(error)}; correct boto3's settings") from error
            return self._made

    @property
    def endpoint(self) -> str:
        return str(self._client.meta.endpoint_url)

    def check(self) -> None:
        """BadInput unless objects can be read and written here, and conditional writes are heeded."""
        try:
            self.read(MARKER)
            self.write_if_absent(MARKER, b"")
            heeds_absence = not self.write_if_absent(MARKER, b"")
            heeds_match = not self._put(MARKER, b"", IfMatch=f'"{uuid.uuid4().hex}"')
        except Unreachable as error:
            raise BadInput(
                f"--store {self.url}: {error}; correct the URL, AWS_ENDPOINT_URL or the credentials"
            ) from error
        if not heeds_absence or not heeds_match:
            raise BadInput(
                f"--store {self.url}: {self.endpoint} ignores If-None-Match or If-Match on writes, so two runs "
                f"could train the same step; use a server that heeds them, or a shared folder"
            )

    def read(self, key: str) -> bytes | None:
        """An object's content, None where there is none."""
        return self.read_version(key)[0]

    def read_version(self, key: str) -> tuple[bytes | None, str | None]:
        """Content and etag, both None where there is no object."""
        with self._naming(key):
            try:
                answer = self._client.get_object(Bucket=self.name, Key=self.prefix + key)
                return answer["Body"].read(), answer["ETag"]
            except ClientError as error:
                if _code(error) not in ("404", "NoSuchKey"):  # NoSuchBucket is another matter
                    raise
                return None, None

    def exists(self, key: str) -> bool:
        with self._naming(key):
            try:
                self._client.head_object(Bucket=self.name, Key=self.prefix + key)
            except ClientError as error:
                if _code(error) not in ABSENT:
                    raise
                return False
            return True

    def write(self, key: str, content: bytes) -> None:
        with self._naming(key):
            self._client.put_object(Bucket=self.name, Key=self.prefix + key, Body=content)

    def write_if_absent(self, key: str, content: bytes) -> bool:
        """Whether it was written: False where there is an object."""
        return self._put(key, content, IfNoneMatch="*")

    def write_if_match(self, key: str, content: bytes, etag: str) -> bool:
        """Whether it was written: False where the object is gone or no longer the one with this etag."""
        return self._put(key, content, IfMatch=etag)

    def _put(self, key: str, content: bytes, **condition: str) -> bool:
        with self._naming(key):
            try:
                self._client.put_object(Bucket=self.name, Key=self.prefix + key, Body=content, **condition)
            except ClientError as error:
                if _code(error) in NOT_MET or ("IfMatch" in condition and _code(error) in ABSENT):
                    return False
                raise
            return True

    def list(self, prefix: str) -> list[Entry]:
        """All objects whose keys start so, by key."""
        with self._naming(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + prefix
            )
            found = [
                Entry(item["Key"].removeprefix(self.prefix), item["ETag"], item["LastModified"])
                for page in pages
                for item in page.get("Contents", ())
            ]
        return sorted(found, key=lambda entry: entry.key)

    def delete(self, keys: Iterable[str]) -> None:
        """Objects that are not there count as deleted."""
        left = [{"Key": self.prefix + key} for key in keys]
        while left:
            now, left = left[:MAX_DELETED], left[MAX_DELETED:]
            with self._naming(now[0]["Key"]):
                answer = self._client.delete_objects(Bucket=self.name, Delete={"Objects": now, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise Unreachable(f"s3://{self.name}/{failed['Key']}: not deleted ({failed.get('Message')})")

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        """boto3's errors as one that names the object and the endpoint."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            where = f"s3://{self.name}/{self.prefix}{key}"
            raise Unreachable(f"{where} at {self.endpoint}: {_line(error)}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
