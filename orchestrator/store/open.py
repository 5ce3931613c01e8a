"""Opens the store at an address: a folder or a bucket."""

from __future__ import annotations

import hashlib
import os
import tempfile
import unicodedata
from pathlib import Path

from orchestrator.store.shared_folder import closed, refuse_closed
from orchestrator.store.store import DEFAULT_STORE, SCHEMES, STORE_VARIABLE, LeasedStore, Store
from reskd.errors import BadInput

CACHE_VARIABLE = "RESKD_CACHE"
WRITTEN = ("runs", "progress", "manifests", "artifacts", "tables", "ray", "logs")
"""The folders of a store that most commands write. What else there is, is checked where it is written."""


def is_bucket(address: str) -> bool:
    """Whether an address names a store in a bucket."""
    return address.partition("://")[0] in SCHEMES and "://" in address


def address_of(named: str | Path | None) -> str:
    """The address that --store, $RESKD_STORE or the default gives; a folder's is absolute. Nothing is created.

    Raises BadInput for an unknown scheme, and for a folder whose name is no text.
    """
    address = str(named or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
    if is_bucket(address):
        return address
    if "://" in address:
        raise BadInput(f"--store {address}: neither a folder nor {', '.join(f'{each}://' for each in SCHEMES)}bucket")
    folder = str(Path(address).absolute())
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in folder):  # MLflow keeps the path as text
        raise BadInput(f"--store {folder!r}: has bytes that are no UTF-8, or a control character; name another folder")
    return folder


def store_of(address: str) -> Store:
    """The store at an address. A bucket is not contacted."""
    if not is_bucket(address):
        return Store(Path(address))
    from orchestrator.store.object_blobs import ObjectBlobs, endpoint  # a folder does not need the client

    name = hashlib.sha256(f"{endpoint()} {address.rstrip('/')}".encode()).hexdigest()[:16]
    home = cache_folder() / name
    return Store(home, ObjectBlobs(address, cache=home))


def existing_store(named: str | Path | None) -> Store:
    """The store of the command line, else of $RESKD_STORE, else the default, to read from. Nothing is written.

    Raises BadInput if there is no such folder.
    """
    address = address_of(named)
    if not is_bucket(address) and not Path(address).is_dir():
        raise BadInput(f"--store {address}: no such folder; name the store of the run with --store or {STORE_VARIABLE}")
    return store_of(address)


def leased_store(address: str, *, owner_id: str) -> LeasedStore:
    """The store at an address, for the workers of run `owner_id`: each write checks the run's lease."""
    return LeasedStore(store_of(address), owner_id=owner_id)


def store_at(named: str | Path | None) -> Store:
    """The store of the command line, else of $RESKD_STORE, else the default. Raises BadInput if it cannot be
    written."""
    address = address_of(named)
    store = store_of(address)
    if is_bucket(address):
        _check_bucket(store)
        return store
    try:
        store.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store.home):
            pass
        refuse_closed((store.home / name for name in WRITTEN), store=store.home)
    except OSError as error:
        if isinstance(error, PermissionError) and store.home.is_dir():
            raise BadInput(closed(store.home, store=store.home)) from error
        raise BadInput(f"--store {store.home}: cannot be written ({error.strerror}); name another folder") from error
    return store


def _check_bucket(store: Store) -> None:
    """Raise BadInput unless the bucket answers and obeys conditions, and the cache folder can be written."""
    from orchestrator.store.object_blobs import ObjectBlobs

    assert isinstance(store.blobs, ObjectBlobs)
    store.blobs.check()
    make_cache(store)


def make_cache(store: Store) -> None:
    """Make the folder of this machine for a store in a bucket. Raises BadInput if it cannot be written."""
    try:
        store.home.mkdir(parents=True, exist_ok=True)
        (store.home / "url").write_text(f"{store.address}\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{store.home}: cannot be written ({error.strerror}); set {CACHE_VARIABLE}") from error


def cache_folder() -> Path:
    """The folder of this user on this machine for what can be fetched or computed again. It may not exist yet."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reskd"
