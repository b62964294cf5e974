"""Keep the store in two files, where nothing has to be installed beside Holdfast."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from operator import itemgetter
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast import forks
from holdfast.core.errors import NotAStore
from holdfast.core.models import Durability
from holdfast.store.bell import SocketBell
from holdfast.store.joining import SAVEPOINT, Place, at_once, opening
from holdfast.store.queries import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.core.clock import Clock
    from holdfast.store.database import Database
    from holdfast.store.joining import Brackets
    from holdfast.store.queries import Values

_NAMED = re.compile(r":([a-z_]+)")
_LIST = re.compile(r"\bIN :([a-z_]+)")
_SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}
_FULL = 2
_OPEN_BYTE = "128"  # of the shm file: locked by every open connection
_OURS_FIRST = "schema_migration"  # the table that a new store has before all others

# The last two are what the driver raises for values that it cannot hand over.
_REFUSALS = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError)

_GATE = Template("""
CREATE TRIGGER IF NOT EXISTS $name BEFORE $change ON $table
WHEN NOT EXISTS (SELECT 1 FROM move WHERE move_id = '$move_id' AND state = 'arrived')
BEGIN SELECT RAISE(ABORT, '$words'); END
""")


class Sqlite:
    """Keep the store in one file: WAL, one writer at a time, readers never wait.

    Every commit is synced (synchronous=FULL), so that what was accepted, finished or shipped
    survives a power cut: https://www.sqlite.org/pragma.html#pragma_synchronous
    """

    name = "sqlite"
    most_idle = float("inf")  # seconds: nobody drops a file
    begin_write = "BEGIN IMMEDIATE"
    begin_read = "BEGIN"
    limits = ""
    driver = "sqlite3"
    has_async = False
    one_writer = True
    connections_stay = False  # and to look again costs no way to a server

    def __init__(self, path: Path, schema: str, *, page: int = 4096, shrinks: bool = False) -> None:
        self.path = path
        self.schema = schema
        self.page = page  # bytes
        self.shrinks = shrinks  # whether free pages can be given back to the file system
        self.url = f"sqlite:///{path}"

    def bell(self, _database: Database) -> SocketBell:
        """Return what wakes workers: a folder beside the store, where listeners are found."""
        return SocketBell(self.path.with_name(f"{self.path.name}.bell"))

    def connect(self) -> sqlite3.Connection:
        """Open the file, and make it with its folder if it is not there."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        # No waiting inside SQLite: it would look for the lock ever more seldom, up to ten times a
        # second, and a busy writer beside it would win for seconds on end. Database.write retries.
        try:
            connection = sqlite3.connect(
                self.path, timeout=0.0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.OperationalError as error:
            problem = f"{error}{self._hint()}"
            raise sqlite3.OperationalError(problem) from error
        try:
            if self.shrinks and connection.execute("PRAGMA auto_vacuum").fetchone() == (0,):
                # Counts in a new file only; in another one it would wait for who writes.
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(f"PRAGMA page_size = {self.page}")  # counts in a new file only
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def durability(self, mode: str = "unknown", level: int = -1) -> Durability:
        """Judge the journal mode and the way of syncing that are in force on a connection.

        A file system or an option may have refused ours.
        """
        settings = f"journal mode {mode}, synchronous {_SYNCHRONOUS.get(level, 'unknown')}"
        if mode != "wal":
            return Durability(settings, "", "WAL is needed to read and write")
        if level < _FULL:
            return Durability(settings, "", "a power cut loses accepted runs")
        return Durability(settings, "a commit survives a power cut")

    def check_ours(self, table: str) -> None:
        """Raise NotAStore for a file that is something else; the look changes nothing in it.

        `table` is one that our schema has and no other program's. A new file is ours.
        """
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise NotAStore(store=self.url, found="no plain file")
        with suppress(sqlite3.OperationalError):  # busy, no right: who opens it will be told
            tables = self._tables()
            if tables - {_OURS_FIRST} and table not in tables:
                raise NotAStore(store=self.url, found="the database of something else")

    def _tables(self) -> set[str]:
        url = f"{self.path.as_uri()}?mode=rw"
        try:  # no connection may cross a fork: see connections.py
            with forks.away, closing(sqlite3.connect(url, uri=True)) as connection:
                return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise NotAStore(store=self.url, found="no SQLite database") from error
            raise

    def _hint(self) -> str:
        """Return what may keep the file from being opened: SQLite does not say it."""
        folder = self.path.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            return f" (user {os.geteuid()} cannot write in {folder})"
        if self.path.exists() and not os.access(self.path, os.R_OK | os.W_OK):
            return f" (user {os.geteuid()} cannot read and write it)"
        return ""

    def adapt(self, sql: str) -> Query:
        """Return a statement as the driver takes it: tables have their plain names.

        Values go by their places: by name, the driver looks each of them up for each row.
        """
        names, lists = _NAMED.findall(sql), _LIST.findall(sql)
        sql = _LIST.sub(r"IN (SELECT value FROM json_each(:\1))", sql.replace("@", ""))
        return Query(_NAMED.sub("?", sql), _in_order(names, lists))

    def ahead(self, _connection: sqlite3.Connection, _clock: Clock) -> int:
        """Return 0: a file has no clock of its own."""
        return 0

    def in_transaction(self, connection: sqlite3.Connection) -> bool:
        """Tell whether a transaction is open."""
        return connection.in_transaction

    def is_error(self, error: BaseException) -> bool:
        """Tell whether SQLite raised this."""
        return isinstance(error, sqlite3.Error)

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether somebody else only held the lock."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    def is_refusal(self, error: BaseException) -> bool:
        """Tell whether a constraint, a trigger or the driver itself says no."""
        return isinstance(error, _REFUSALS)

    def is_elsewhere(self, error: BaseException) -> bool:  # noqa: ARG002 - as others
        """Tell that there is no other place."""
        return False

    def words(self, error: BaseException) -> str:
        """Return what the database says of a refusal."""
        return str(error)

    def gates(
        self, table: str, changes: Sequence[str], move_id: str, refusal: str
    ) -> dict[str, str]:
        """Return the triggers that let only a move change a table: name -> statement."""
        values = {"table": table, "move_id": move_id, "words": refusal.replace("'", "''")}
        names = {f"closed_{table}_{change.lower()}_{move_id[-12:]}": change for change in changes}
        return {
            name: _GATE.substitute(values, name=name, change=change)
            for name, change in names.items()
        }

    def no_gate(self, name: str, table: str) -> str:  # noqa: ARG002 - part of Dialect
        """Return the statement that takes a trigger away."""
        return f"DROP TRIGGER IF EXISTS {name}"

    def is_half_done(self, error: BaseException) -> bool:
        """Tell whether the disk failed: what is in the journal may be taken up again later."""
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR

    def is_race(self, error: BaseException) -> bool:  # noqa: ARG002 - part of Dialect
        """Return False: there is one writer at a time."""
        return False

    def is_ours(self, connection: Any) -> bool:
        """Tell whether the driver made this connection of a caller."""
        return isinstance(connection, sqlite3.Connection)

    def trouble(self, connection: sqlite3.Connection) -> str | None:
        """Return why nothing can be written on a connection of a caller now."""
        try:
            connection.total_changes  # noqa: B018 - it raises when the connection is closed
        except sqlite3.ProgrammingError as error:
            return str(error)
        if connection.text_factory is not str:
            return "its text_factory is not str"
        return None

    def cursor(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        """Return a cursor that gives tuples, however a caller has set up his connection."""
        cursor = sqlite3.Cursor(connection)
        cursor.row_factory = None
        return cursor

    def brackets(self, connection: sqlite3.Connection) -> Brackets:
        """Return what makes our statements one part of the caller's transaction.

        The driver begins one before INSERT, and would not before SAVEPOINT.
        """
        if connection.in_transaction:
            return SAVEPOINT
        if connection.isolation_level is None or getattr(connection, "autocommit", -1) is True:
            return at_once(self.begin_write)
        return opening(f"BEGIN {connection.isolation_level}")

    def place(self, row: Any) -> Place:
        """Tell which file this is: one file may have many names."""
        (name,) = row
        with suppress(OSError):
            found = Path(name).stat()
            return Place((found.st_dev, found.st_ino), name)
        return Place((name,), name or "a database in memory")

    def lock_holders(self) -> set[int]:
        """Return the processes of this host that are in a transaction just now.

        Transactions lock bytes of the shm file; each open connection holds the last one all the
        time, which is no transaction: https://www.sqlite.org/walformat.html#wal_locks
        """
        try:
            inode = Path(f"{self.path}-shm").stat().st_ino
        except FileNotFoundError:
            return set()
        lines = Path("/proc/locks").read_text().splitlines()  # see proc_locks(5)
        ours = [line.split() for line in lines if f":{inode} " in line and "->" not in line]
        return {int(pid) for *_, pid, _, first, _ in ours if first != _OPEN_BYTE}

    def is_no_table(self, error: BaseException) -> bool:
        """Tell whether the schema is not there yet."""
        return isinstance(error, sqlite3.OperationalError) and "no such table" in str(error)


def _in_order(names: Sequence[str], lists: Sequence[str]) -> Callable[[Values], Sequence[object]]:
    """Return what puts values into the order of their places in a statement; lists become JSON."""
    if lists or len(names) <= 1:
        return lambda values: [
            _json(values[name]) if name in lists else values[name] for name in names
        ]
    return itemgetter(*names)  # three times as fast as a loop


def _json(values: object) -> str:
    return msgspec.json.encode(values).decode()  # a text: bytes would be taken for JSONB
