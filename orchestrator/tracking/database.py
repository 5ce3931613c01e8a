"""MLflow's client for a store: a named server, or the store's own database, wherever the store lies now."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from alembic.util.exc import CommandError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from orchestrator.store.shared_folder import refuse_closed
from orchestrator.store.store import Store
from orchestrator.tracking.settings import refuse_files
from reskd.errors import BadInput
from reskd.passwords import without_passwords

FAULTS = (MlflowException, SQLAlchemyError, sqlite3.Error, CommandError, OSError)
"""What MLflow and its database raise where they do not answer or cannot be written."""
SQLITE = "sqlite+pysqlite:///"
"""How the URIs of our databases begin. Of a `sqlite:///` URI, MLflow creates the parent folder before it decodes the
path: a store in `run#3` would get a second folder, `run%233`."""
LOCK = "mlflow.lock"
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)
"""Columns in which MLflow keeps absolute addresses of artifacts."""
OURS = """
    SELECT DISTINCT artifact_location FROM experiments
    WHERE artifact_location LIKE 'file:%' AND artifact_location != ? AND (
        name = 'throughput' OR experiment_id IN (SELECT experiment_id FROM experiment_tags WHERE key = 'reskd.question')
    )
"""


def uri_of(store: Store, tracking_uri: str | None) -> str:
    """The tracking server if one is named, else the store's own database."""
    return tracking_uri or SQLITE + quote(str(store.mlflow_db), safe="/ +")


def client_of(store: Store, tracking_uri: str | None) -> MlflowClient:
    """A client of the named server, else of the store's own database, which is created if there is none.

    Models are registered where the runs are, whatever MLFLOW_REGISTRY_URI says. Raises BadInput for a database that
    cannot be opened, and MLflow's own errors.
    """
    uri = uri_of(store, tracking_uri)
    store.home.mkdir(parents=True, exist_ok=True)
    check_uri(uri)
    if tracking_uri is None:
        _create(store)
    # The client opens the database. Two processes that open a new one together would leave it incomplete.
    with only_writer(store, uri):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create(store: Store) -> None:
    """Create the database's file with the rights of the store's other files. SQLite would give none to the group."""
    database = store.mlflow_db
    refuse_closed([database, store.home / LOCK], store=store.home)
    database.touch(exist_ok=True)
    status = database.stat()
    if store.home.stat().st_mode & stat.S_IWGRP and status.st_uid == os.geteuid():
        database.chmod(status.st_mode | stat.S_IRGRP | stat.S_IWGRP)


def check_uri(uri: str) -> None:
    """Raise BadInput for a URI that MLflow does not know, and for a database file that cannot exist.

    SQLAlchemy would try for minutes to open such a file.
    """
    refuse_files(uri)
    path = file_of(uri)
    if path is None:
        return
    if not path.parent.is_dir():
        raise BadInput(f"tracking URI {uri}: there is no folder {path.parent}; make it or name another")
    if not path.exists():
        return
    if not path.is_file():
        raise BadInput(f"tracking URI {uri}: not a file; name another")
    with open(path, "rb") as file:
        if file.read(16) not in (b"", b"SQLite format 3\0"):
            raise BadInput(f"tracking URI {uri}: not a database; name another file or remove this one")


def file_of(uri: str) -> Path | None:
    """The file of an SQLite database; None for a URI of anything else."""
    if not is_sqlite(uri):
        return None
    try:
        return Path(make_url(uri).database or "")
    except ArgumentError as error:
        raise BadInput(f"tracking URI {uri}: {error}") from error


def is_sqlite(uri: str) -> bool:
    return uri.partition(":")[0].partition("+")[0] == "sqlite"


@contextmanager
def only_writer(store: Store, uri: str) -> Iterator[None]:
    """Lock out other writers on this host. Meanwhile, the store's own database has the artifacts where the store is.

    MLflow has no unique tags, so two writers could create the same run.
    """
    with open(store.home / LOCK, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        database = file_of(uri)
        there = [file for file in (database, store.mlflow_db) if file is not None and file.is_file()]
        if len(there) == 2 and there[0].samefile(there[1]):
            _follow(store)
        yield


def _follow(store: Store) -> None:
    """Point MLflow's database to the store's own artifacts, if the store was moved or copied after it was written.

    MLflow keeps absolute addresses. With those of the old place, it would write there.
    """
    here = store.artifacts.as_uri()
    with closing(sqlite3.connect(store.mlflow_db, timeout=20)) as database, database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"experiments", "experiment_tags"} <= tables:
            return
        for (there,) in database.execute(OURS, [here]).fetchall():
            if not _lies_here(store, database, there):
                continue
            for table, column in ADDRESSES:
                if table in tables:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        [here, len(there) + 1, there, len(there) + 1, f"{there}/"],
                    )


def _lies_here(store: Store, database: sqlite3.Connection, there: str) -> bool:
    """Whether what was written to the address ``there`` is in this store now, by a move or a copy.

    Another store may publish into this database too. Its files are where it said, and not here.
    """
    start = f"{there}/"
    written = database.execute(
        "SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) = ?", [len(start), start]
    )
    inside = [unquote(uri.removeprefix(start)) for (uri,) in written]
    is_here = any((store.artifacts / path).exists() for path in inside)
    return is_here or not Path(unquote(urlsplit(there).path)).exists()


def shown(uri: str) -> str:
    """The URI for messages: without its password; of a store's own database the path."""
    return str(file_of(uri)) if uri.startswith(SQLITE) else without_passwords(uri)
