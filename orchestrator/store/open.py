"""The store that an address names: a folder, or a bucket."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orchestrator.store.folder import DEFAULT_STORE, STORE_VARIABLE, LeasedSink, Store
from reskd.errors import BadInput


def leased_sink(address: str, *, owner_id: str) -> LeasedSink:
    """The store at an address as run `owner_id`'s workers see it."""
    if is_s3(address):
        from orchestrator.store.objects import LeasedS3Sink  # boto3 is an extra

        return LeasedS3Sink(address, owner_id=owner_id)
    return LeasedSink(Path(address), owner_id=owner_id)


def is_s3(address: str) -> bool:
    return address.startswith("s3://")


def store_folder(folder: str | Path | None) -> Path:
    """Where the store is to be; nothing is made."""
    return Path(folder or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE).absolute()


def store_at(folder: str | Path | None) -> Store:
    """The store that a command line, $RESKD_STORE or the default names; BadInput where none can be written."""
    address = str(folder or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
    if is_s3(address):
        from orchestrator.store.objects import S3Store  # boto3 is an extra

        s3_store = S3Store(address)
        s3_store.check()
        return s3_store
    if "://" in address:
        raise BadInput(f"--store {address}: neither a folder nor s3://bucket/prefix")
    store = Store(store_folder(address))
    try:
        store.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store.home):
            pass
    except OSError as error:
        raise BadInput(f"--store {store.home}: cannot be written ({error.strerror}); name another folder") from error
    return store
