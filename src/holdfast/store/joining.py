"""Write in a transaction that belongs to the caller: it commits and rolls back with his own work.

He gives what he works with: a connection of the driver, or what SQLAlchemy or Django has put around
one. What it is, the name of its class tells: neither of them is imported here.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from weakref import WeakSet

from holdfast.core.errors import BadOption, OtherDatabase, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.store.database import Database, Tx
    from holdfast.store.dialects import Dialect

T = TypeVar("T")
_NAME = "holdfast_enqueue"


class Brackets(NamedTuple):
    """Say what stands around our statements, so that they fail as a whole and leave no trace."""

    first: Sequence[str]
    last: Sequence[str]
    undo: Sequence[str]
    commits: bool = False  # whether they are a transaction of their own
    joins: bool = False  # whether one has begun before


SAVEPOINT = Brackets(
    (f"SAVEPOINT {_NAME}",),
    (f"RELEASE SAVEPOINT {_NAME}",),
    (f"ROLLBACK TO SAVEPOINT {_NAME}", f"RELEASE SAVEPOINT {_NAME}"),
    joins=True,
)


def opening(*begin: str) -> Brackets:
    """Return what begins a transaction and leaves it to the caller, unless nothing came of it."""
    return Brackets(begin, (), ("ROLLBACK",))


def at_once(begin: str) -> Brackets:
    """Return what commits at once: the caller has no transaction and wants none."""
    return Brackets((begin,), ("COMMIT",), ("ROLLBACK",), commits=True)


class Place(NamedTuple):
    """Tell which database a connection leads to."""

    key: tuple[Any, ...]  # equal for connections to the same database only
    words: str


def _begun(connection: Any) -> Any:
    """Return a connection of SQLAlchemy that knows of its transaction, or commit() does nothing."""
    if not connection.in_transaction():
        connection.begin()
    return connection


def _of_django(wrapper: Any) -> Any:
    wrapper.validate_thread_sharing()
    wrapper.validate_no_broken_transaction()
    wrapper.ensure_connection()
    return wrapper.connection


# What is put around a connection of a driver -> how to come one step nearer to that. By package
# and name of a class that it is, or comes from.
_WAYS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("sqlalchemy", "Session"): lambda session: session.connection(),
    ("sqlalchemy", "scoped_session"): lambda session: session.connection(),
    ("sqlalchemy", "Connection"): lambda connection: _begun(connection).connection,
    ("sqlalchemy", "PoolProxiedConnection"): lambda connection: connection.dbapi_connection,
    ("django", "BaseDatabaseWrapper"): _of_django,
    ("django", "ConnectionProxy"): _of_django,
}


def driver_connection(given: Any) -> Any:
    """Return the connection of the driver in what a caller works with; others' errors pass."""
    names = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(given).__mro__]
    way = next((_WAYS[name] for name in names if name in _WAYS), None)
    return given if way is None else driver_connection(way(given))


class Guest:
    """Be a part of a transaction of somebody else, which fails as a whole."""

    def __init__(self, given: Any, connection: Any, dialect: Dialect) -> None:
        self.connection = connection
        self.committing = False  # what fails from then on may have been done all the same
        self._given = given
        self._dialect = dialect
        self._brackets = SAVEPOINT
        self._rings: list[Callable[[], None]] = []

    def cursor(self) -> Any:
        """Return a cursor that gives plain rows, whatever the caller has set."""
        return self._dialect.cursor(self.connection)

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Carry out a statement and return its cursor."""
        cursor = self.cursor()
        cursor.execute(sql, *parameters)
        return cursor

    def __enter__(self) -> Self:
        self._brackets = self._dialect.brackets(self.connection)
        self._rings = []
        try:
            self._begin()
        except BaseException:
            self._undo()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._undo()
            return
        self.committing = self._brackets.commits
        try:
            self._do(self._brackets.last)
        except BaseException:
            self._undo()
            raise
        for ring in self._rings:
            if self._brackets.commits:
                ring()
            elif getattr(self._given, "in_atomic_block", False):  # as Django says
                self._given.on_commit(ring)

    def when_committed(self, ring: Callable[[], None]) -> None:
        """Call this after the commit, where somebody tells of it."""
        self._rings.append(ring)

    def _begin(self) -> None:
        self._do(self._brackets.first)
        if self._brackets.joins and not self._dialect.in_transaction(self.connection):
            url, problem = self._dialect.url, "the server has rolled it back already"
            raise StoreUnavailable(store=url, problem=problem, joined=True)

    def _do(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.execute(statement)

    def _undo(self) -> None:
        try:
            if self._dialect.in_transaction(self.connection):
                self._do(self._brackets.undo)
        except Exception as error:
            if not self._dialect.is_error(error):
                raise  # else the connection is lost, and with it the transaction


class Joining:
    """Let callers in, if they are where our tables are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place: Place | None = None
        self._checked: WeakSet[Any] = WeakSet()  # connections that lead to our tables for good

    def guest(self, given: Any) -> Guest:
        """Return the way into the transaction of a caller.

        Raises BadOption for what is no connection of our kind, StoreUnavailable for one that
        cannot be used.
        """
        dialect = self._database.dialect
        try:
            connection = driver_connection(given)
            problem = dialect.trouble(connection) if dialect.is_ours(connection) else None
        except Exception as error:
            problem = str(error)
            raise StoreUnavailable(store=dialect.url, problem=problem, joined=True) from error
        if not dialect.is_ours(connection):
            raise BadOption(
                option="connection", value=given, expected=self._expected(given, connection)
            )
        if problem:
            raise StoreUnavailable(store=dialect.url, problem=problem, joined=True)
        return Guest(given, connection, dialect)

    def _expected(self, given: Any, connection: Any) -> str:
        dialect = self._database.dialect
        if _is_async(given) and dialect.has_async:
            return "`await task.aenqueue(…)` for SQLAlchemy's async session, or a sync connection"
        found = type(getattr(connection, "driver_connection", connection)).__module__
        known = f", found one of {found.partition('.')[0]}" if hasattr(connection, "cursor") else ""
        around = "as it is or that of SQLAlchemy or Django"
        return f"a connection of {dialect.driver} ({around}) to the store {dialect.url}{known}"

    def write(self, guest: Guest, work: Callable[[Tx], T]) -> T:
        """Do work in the transaction of a guest, as a whole or not at all.

        Raises OtherDatabase when it leads elsewhere, StoreUnavailable, StoreRefused.
        """

        def checked(tx: Tx) -> T:
            self._check_place(tx, guest)
            return work(tx)

        return self._database.within(guest, checked)

    def _check_place(self, tx: Tx, guest: Guest) -> None:
        """Look where a connection leads: once, if it cannot go elsewhere later."""
        dialect = self._database.dialect
        connection = getattr(guest.connection, "driver_connection", guest.connection)
        if dialect.connections_stay and connection in self._checked:
            return
        found = dialect.place(tx.row("place"))
        # Ours may be at another place since the last look, under the same address.
        if found.key != self._our_place().key and found.key != self._our_place(look=True).key:
            raise OtherDatabase(found=found.words, store=dialect.url)
        if dialect.connections_stay:
            self._checked.add(connection)

    def _our_place(self, *, look: bool = False) -> Place:
        if self._place is None or look:
            row = self._database.read(lambda tx: tx.row("place"))
            self._place = self._database.dialect.place(row)
        return self._place


def _is_async(given: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(given, "commit", None))
