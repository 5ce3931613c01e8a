"""MLflow's tables in a new SQLite database, copied from the first: to migrate one takes a CPU two seconds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any


def share() -> None:
    """Let MLflow migrate one database of this process, and fill each later one that is empty with the same tables."""
    from mlflow.store.db import utils

    migrate = utils._initialize_tables
    first = sqlite3.connect(":memory:", check_same_thread=False)

    def initialise(engine: Any) -> None:
        with closing(engine.raw_connection()) as connection:
            present = connection.driver_connection
            is_sqlite = isinstance(present, sqlite3.Connection)
            was_empty = is_sqlite and _is_empty(present)
            if was_empty and not _is_empty(first):
                first.backup(present)
                return
        migrate(engine)
        if was_empty:
            with closing(engine.raw_connection()) as connection:
                connection.driver_connection.backup(first)

    utils._initialize_tables = initialise


def _is_empty(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
