"""Open connections and run transactions: the one place where driver errors are wrapped."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.core.errors import StoreUnavailable
from holdfast.store import queries
from holdfast.store.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from holdfast.core.clock import Clock
    from holdfast.store.connections import Line
    from holdfast.store.dialects import Dialect

_LONGEST_PAUSE = 0.005  # seconds between two looks for the lock: the price is a few microseconds
T = TypeVar("T")
Row = tuple[Any, ...]


class Tx:
    """Carry out named queries inside one transaction; `now` is its time in microseconds."""

    def __init__(self, connection: Any, sql: Mapping[str, str], now: int) -> None:
        self._connection = connection
        self._sql = sql
        self.now = now

    def execute(self, query: str, **parameters: Any) -> int:
        """Carry out a statement and return how many rows it changed."""
        parameters["now"] = self.now
        changed: int = self._connection.execute(self._sql[query], parameters).rowcount
        return changed

    def many(self, query: str, rows: Sequence[dict[str, Any]]) -> int:
        """Carry out a statement for each of many parameter sets; return the rows changed."""
        now = self.now
        for row in rows:
            row["now"] = now
        changed: int = self._connection.executemany(self._sql[query], rows).rowcount
        return changed

    def rows(self, query: str, **parameters: Any) -> list[Row]:
        """Return all rows of a query."""
        parameters["now"] = self.now
        found: list[Row] = self._connection.execute(self._sql[query], parameters).fetchall()
        return found

    def row(self, query: str, **parameters: Any) -> Row | None:
        """Return the first row of a query, or None."""
        parameters["now"] = self.now
        found: Row | None = self._connection.execute(self._sql[query], parameters).fetchone()
        return found

    def script(self, statements: Sequence[str]) -> None:
        """Carry out statements of a migration, one by one."""
        for statement in statements:
            self._connection.execute(statement)


class Database:
    """Give every thread of every process a connection of its own, and run transactions on it."""

    def __init__(self, dialect: Dialect, clock: Clock, wait_seconds: float) -> None:
        self.dialect = dialect
        self.clock = clock
        self.wait_seconds = wait_seconds
        self._sql = queries.load(dialect.name)
        self._connections = Connections(dialect.connect)

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run a whole transaction, again when the database was only busy.

        `work` may run several times and must not do anything else than use its transaction.
        Raises StoreUnavailable when it could not be committed within `wait_seconds`.
        """
        return self._retrying(self.dialect.begin_write, work)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run a transaction that only reads, and sees one state of the store throughout."""
        return self._retrying(self.dialect.begin_read, work)

    @contextmanager
    def transaction(self, begin: str | None = None) -> Iterator[Tx]:
        """Run one transaction, once; driver errors pass as they are."""
        line = self._connections.acquire()
        connection = line.connection
        try:
            connection.execute(begin or self.dialect.begin_write)
            yield Tx(connection, self._sql, self.clock.now())
            connection.execute("COMMIT")
        except BaseException:
            self._undo(line)
            raise
        finally:
            self._connections.release(line)

    def close(self) -> None:
        """Close the connection of this thread; the next use opens a new one."""
        self._connections.close()

    def _retrying(self, begin: str, work: Callable[[Tx], T]) -> T:
        deadline = time.monotonic() + self.wait_seconds
        pause = 0.001
        while True:
            try:
                with self.transaction(begin) as tx:
                    return work(tx)
            except Exception as error:
                if not self.dialect.is_error(error):
                    raise
                late = time.monotonic() > deadline
                if late or not self.dialect.is_transient(error):
                    raise self._unavailable(error) from error
            time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads contenders, no secret
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(store=self.dialect.url, problem=str(error))

    def _undo(self, line: Line) -> None:
        try:
            if line.connection.in_transaction:
                line.connection.execute("ROLLBACK")
        except Exception as error:
            if not self.dialect.is_error(error):
                raise
            line.close()
