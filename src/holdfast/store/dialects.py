"""Hold what differs between databases: how to connect, to begin, and to read their errors."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Protocol

from holdfast.core.config import sqlite_path
from holdfast.core.errors import ConfigError


class Dialect(Protocol):
    """Give the facts of one database."""

    name: str
    url: str
    begin_write: str
    begin_read: str

    def connect(self) -> Any:
        """Open a connection in autocommit mode, ready for use."""
        ...

    def is_error(self, error: BaseException) -> bool:
        """Tell whether the database driver raised this."""
        ...

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether the whole transaction may be tried again."""
        ...

    def is_duplicate(self, error: BaseException) -> bool:
        """Tell whether a unique index refused the row."""
        ...

    def is_no_table(self, error: BaseException) -> bool:
        """Tell whether the schema is not there yet."""
        ...


class Sqlite:
    """Keep the store in one file: WAL, one writer at a time, readers never wait.

    Every commit is synced (synchronous=FULL), so that what was accepted, finished or shipped
    survives a power cut: https://www.sqlite.org/pragma.html#pragma_synchronous
    """

    name = "sqlite"
    begin_write = "BEGIN IMMEDIATE"
    begin_read = "BEGIN"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def connect(self) -> sqlite3.Connection:
        """Open the file, and make it with its folder if it is not there."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        # No waiting inside SQLite: it would look for the lock ever more seldom, up to ten times a
        # second, and a busy writer beside it would win for seconds on end. Database.write retries.
        connection = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def is_error(self, error: BaseException) -> bool:
        """Tell whether SQLite raised this."""
        return isinstance(error, sqlite3.Error)

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether somebody else only held the lock."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    def is_duplicate(self, error: BaseException) -> bool:
        """Tell whether a unique index refused the row."""
        return isinstance(error, sqlite3.IntegrityError)

    def is_no_table(self, error: BaseException) -> bool:
        """Tell whether the schema is not there yet."""
        return isinstance(error, sqlite3.OperationalError) and "no such table" in str(error)


def sqlite_dialects(url: str) -> tuple[Sqlite, Sqlite]:
    """Return the dialects of the two files of an SQLite store: runs, and logs beside them."""
    path = sqlite_path(url)
    if path is None:
        kind = url.partition("://")[0]
        problem = f"store={url!r}: this version knows sqlite:///path stores, not {kind}"
        raise ConfigError(problems=[problem])
    logs = path.with_name(f"{path.stem}.logs{path.suffix or '.db'}")
    return Sqlite(path), Sqlite(logs)
