"""Open connections and run transactions: the one place where driver errors are wrapped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.core.errors import StoreError, StoreRefused, StoreUnavailable
from holdfast.store import queries
from holdfast.store.connections import Connections
from holdfast.store.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from holdfast.core.clock import Clock
    from holdfast.store.dialects import Dialect
    from holdfast.store.joining import Guest
    from holdfast.store.queries import Query, Values

T = TypeVar("T")
Row = tuple[Any, ...]


class Tx:
    """Carry out named queries inside one transaction; `now` is its time in microseconds."""

    def __init__(self, connection: Any, queries: Mapping[str, Query], now: int) -> None:
        self._connection = connection
        self._queries = queries
        self.now = now
        self.again = False  # whether somebody else came first a moment ago

    def knows(self, query: str) -> bool:
        """Tell whether this dialect has a query that others do without."""
        return query in self._queries

    def execute(self, query: str, **parameters: Any) -> int:
        """Carry out a statement and return how many rows it changed."""
        changed: int = self._run(query, parameters).rowcount
        return changed

    def many(self, query: str, rows: Sequence[dict[str, Any]]) -> int:
        """Carry out a statement for each of many parameter sets; return the rows changed."""
        if not rows:
            return 0
        text, bind, copy = self._queries[query]
        now = self.now
        for row in rows:
            row["now"] = now
        cursor = self._connection.cursor()
        if copy is not None:
            copy(cursor, text, map(bind, rows))
        else:
            cursor.executemany(text, map(bind, rows))
        changed: int = cursor.rowcount
        return changed

    def rows(self, query: str, **parameters: Any) -> list[Row]:
        """Return all rows of a query."""
        found: list[Row] = self._run(query, parameters).fetchall()
        return found

    def each(self, query: str, **parameters: Any) -> Iterator[Row]:
        """Yield the rows of a query one by one: no more are read than are taken."""
        found: Iterator[Row] = self._run(query, parameters)
        return found

    def row(self, query: str, **parameters: Any) -> Row | None:
        """Return the first row of a query, or None."""
        found: Row | None = self._run(query, parameters).fetchone()
        return found

    def script(self, statements: Sequence[str]) -> None:
        """Carry out statements of a migration, one by one."""
        for statement in statements:
            self._connection.execute(statement)

    def _run(self, query: str, values: Values) -> Any:
        text, bind, _ = self._queries[query]
        values["now"] = self.now
        return self._connection.execute(text, bind(values))


class Transaction:
    """Be one transaction on the connection of this thread; a class costs less than a generator."""

    __slots__ = ("_begin", "_connections", "_dialect", "_line", "_tx", "committing", "reached")

    def __init__(
        self, connections: Connections, dialect: Dialect, tx: Callable[[Any], Tx], begin: str
    ) -> None:
        self._connections = connections
        self._dialect = dialect
        self._tx = tx
        self._begin = begin
        self.reached = False  # whether there was a connection
        self.committing = False  # what fails from then on may have been done all the same

    def __enter__(self) -> Tx:
        line = self._line = self._connections.acquire()
        self.reached = True
        try:
            line.connection.execute(self._begin + self._dialect.limits)
        except BaseException:
            self._connections.undo(self._line)
            raise
        return self._tx(line.connection)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._connections.undo(self._line)
            return
        self.committing = self._begin != self._dialect.begin_read
        try:
            self._line.connection.execute("COMMIT")
        except BaseException:
            self._connections.undo(self._line)
            raise
        self._connections.release(self._line)


class Database:
    """Give every thread of every process a connection of its own, and run transactions on it."""

    def __init__(self, dialect: Dialect, clock: Clock, wait_seconds: float) -> None:
        self.dialect = dialect
        self.clock = clock
        self.wait_seconds = wait_seconds
        known = queries.load(dialect.name)
        self._queries = {name: dialect.adapt(text) for name, text in known.items()}
        self._ahead = 0  # microseconds that the clock of the database is ahead of this host's
        self._attend: Callable[[Any], None] | None = None  # shown the connections of one thread
        self._listener = 0
        self._connections = Connections(self._connect, dialect.in_transaction, dialect.most_idle)

    def write(
        self,
        work: Callable[[Tx], T],
        *,
        repeatable: bool = False,
        patience: Patience | None = None,
    ) -> T:
        """Run a whole transaction, again when the database was only busy.

        `work` may run several times and must not do anything else than use its transaction.
        Raises StoreUnavailable when it could not be committed within `wait_seconds`; its
        `unknown` tells that it may have been committed all the same: such a one is run again only
        when it is `repeatable`. A `patience` comes from a try in another way. Raises StoreRefused
        when trying again is of no use.
        """
        patience = patience or self.patience(repeatable=repeatable)
        return self._retrying(self.dialect.begin_write, work, patience)

    def knows(self, query: str) -> bool:
        """Tell whether this dialect has a query that others do without."""
        return query in self._queries

    def learn(self, statements: Mapping[str, str]) -> None:
        """Take statements that are made from the schema: name -> SQL."""
        self._queries |= {name: self.dialect.adapt(text) for name, text in statements.items()}

    def write_alone(self, query: str, values: Values, patience: Patience) -> None:
        """Carry out one statement, a transaction by itself, as `write` does."""
        self._alone(query, values, patience)

    def ask_alone(self, query: str, values: Values) -> list[Row]:
        """Do the same and return its rows; it is not repeatable."""
        values["now"] = self.now()
        rows: list[Row] = self._alone(query, values, self.patience()).fetchall()
        return rows

    def _alone(self, query: str, values: Values, patience: Patience) -> Any:
        text, bind, _ = self._queries[query]
        while True:
            line = None
            try:
                line = self._connections.acquire()
                cursor = line.connection.execute(text, bind(values))
            except BaseException as error:
                reached = line is not None
                if line is not None:
                    self._connections.undo(line)
                if not patience.bear(error, reached=reached, committing=reached):
                    raise
            else:
                self._connections.release(line)
                return cursor

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run a transaction that only reads, and sees one state of the store throughout."""
        return self._retrying(self.dialect.begin_read, work, self.patience())

    def within(self, guest: Guest, work: Callable[[Tx], T]) -> T:
        """Run a part of a transaction that belongs to somebody else; `work` as in `write`.

        To try again is up to him, for all that he has done in it. Only where another transaction
        has just taken a dedupe key, we look again: then it is to be found. Raises StoreUnavailable
        and StoreRefused; nothing of the part is left then, and he may go on where his database
        lets him.
        """
        again = False
        while True:
            try:
                with guest:
                    tx = self._tx(guest)
                    tx.again = again
                    return work(tx)
            except Exception as error:
                if again or not self.dialect.is_race(error):
                    wrapped = self._joined(error, guest)
                    if wrapped is None:
                        raise
                    raise wrapped from error
            again = True

    def _joined(self, error: Exception, guest: Guest) -> StoreError | None:
        """Return what a caller is told of an error in his transaction; None: the error itself."""
        store, problem = self.dialect.url, str(error)
        if self.dialect.is_refusal(error):
            return StoreRefused(store=store, problem=self.dialect.words(error))
        if not self.dialect.is_error(error):
            return None
        if guest.committing and self.dialect.is_half_done(error):
            return StoreUnavailable(store=store, problem=problem, unknown=True)
        if self.dialect.is_transient(error):
            return StoreUnavailable(store=store, problem=problem, joined=True)
        return StoreRefused(store=store, problem=problem)

    def at_once(self, query: str, **parameters: Any) -> int:
        """Carry out one statement that is its own transaction; driver errors pass as they are."""
        line = self._connections.acquire()
        try:
            return self._tx(line.connection).execute(query, **parameters)
        except BaseException:
            line.close()
            raise
        finally:
            self._connections.release(line)

    def transaction(self, begin: str | None = None) -> Transaction:
        """Run one transaction, once; driver errors pass as they are."""
        begin = self.dialect.begin_write if begin is None else begin
        return Transaction(self._connections, self.dialect, self._tx, begin)

    def _tx(self, connection: Any) -> Tx:
        return Tx(connection, self._queries, self.now())

    def now(self) -> int:
        """Return the time of the database, in microseconds: that of its server, once connected."""
        return self.clock.now() + self._ahead

    def heed(self, attend: Callable[[Any], None] | None) -> None:
        """Show each connection that this thread opens from now on to somebody; None: to nobody."""
        self._attend = attend
        self._listener = threading.get_ident()

    def _connect(self) -> Any:
        connection = self.dialect.connect()
        try:
            self._ahead = self.dialect.ahead(connection, self.clock)
            if self._attend is not None and self._listener == threading.get_ident():
                self._attend(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the connection of this thread; the next use opens a new one."""
        self._connections.close()

    def _retrying(self, begin: str, work: Callable[[Tx], T], patience: Patience) -> T:
        while True:
            transaction = self.transaction(begin)
            try:
                with transaction as tx:
                    return work(tx)
            except Exception as error:
                reached, committing = transaction.reached, transaction.committing
                if not patience.bear(error, reached=reached, committing=committing):
                    raise

    def patience(self, *, repeatable: bool = False) -> Patience:
        """Return what decides how often something is tried, for so long as `wait_seconds`."""
        return Patience(self.dialect, self.wait_seconds, self.close, repeatable=repeatable)
