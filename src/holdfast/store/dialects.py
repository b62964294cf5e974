"""Say what differs between databases: how to connect, to begin, and to read their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from holdfast.core.config import is_mysql, is_postgres, sqlite_path, without_password
from holdfast.core.errors import ConfigError
from holdfast.store.mysql import Mysql
from holdfast.store.postgres import Postgres
from holdfast.store.sqlite import Sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.clock import Clock
    from holdfast.core.models import Durability
    from holdfast.store.bell import Bell
    from holdfast.store.database import Database
    from holdfast.store.joining import Brackets, Place
    from holdfast.store.queries import Query


class Dialect(Protocol):
    """Give the facts of one database."""

    name: str  # of the folder of its own SQL
    schema: str  # of the folder of its migrations
    url: str  # as people may see it
    begin_write: str
    begin_read: str
    limits: str  # what is added to them: how long a transaction may take, if no session knows it
    most_idle: float  # seconds; a connection that was idle for longer is replaced
    driver: str  # as people call it
    has_async: bool  # whether SQLAlchemy's async sessions may use the same driver
    one_writer: bool  # whether who writes keeps all others from writing
    connections_stay: bool  # whether a connection leads to one database for all its life

    def adapt(self, sql: str) -> Query:
        """Return a statement as the driver takes it; ``@name`` is a table of ours."""
        ...

    def connect(self) -> Any:
        """Open a connection in autocommit mode, ready for use."""
        ...

    def ahead(self, connection: Any, clock: Clock) -> int:
        """Return by how many microseconds the clock of the database is ahead."""
        ...

    def bell(self, database: Database) -> Bell:
        """Return what wakes the workers that wait for runs."""
        ...

    def in_transaction(self, connection: Any) -> bool:
        """Tell whether a transaction has to be rolled back."""
        ...

    def durability(self, *found: Any) -> Durability:
        """Judge the row of the query `durability`."""
        ...

    def check_ours(self, table: str) -> None:
        """Raise NotAStore for something that is there and is no store."""
        ...

    def is_error(self, error: BaseException) -> bool:
        """Tell whether the database driver raised this."""
        ...

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether the whole transaction may be tried again."""
        ...

    def is_refusal(self, error: BaseException) -> bool:
        """Tell whether a value or a row is not accepted, and never will be."""
        ...

    def is_elsewhere(self, error: BaseException) -> bool:
        """Tell whether the server takes no writes: another connection may find one that does."""
        ...

    def words(self, error: BaseException) -> str:
        """Return what the database says of a refusal, and nothing around it."""
        ...

    def is_half_done(self, error: BaseException) -> bool:
        """Tell whether a commit that failed so may be found done after a crash."""
        ...

    def is_race(self, error: BaseException) -> bool:
        """Tell whether somebody else has just made what we have looked for and not found."""
        ...

    def is_no_table(self, error: BaseException) -> bool:
        """Tell whether the schema is not there yet."""
        ...

    def is_ours(self, connection: Any) -> bool:
        """Tell whether our driver made this connection of a caller."""
        ...

    def trouble(self, connection: Any) -> str | None:
        """Return why nothing can be written on a connection of a caller now."""
        ...

    def cursor(self, connection: Any) -> Any:
        """Return a cursor that gives tuples, however a caller has set up his connection."""
        ...

    def brackets(self, connection: Any) -> Brackets:
        """Return what makes our statements one part of the caller's transaction."""
        ...

    def place(self, row: Any) -> Place:
        """Tell which database the row of the query `place` names."""
        ...

    def gates(
        self, table: str, changes: Sequence[str], move_id: str, refusal: str
    ) -> dict[str, str]:
        """Return the triggers that let only a move change a table: name -> statements.

        The names begin with ``closed_`` and end with the end of the id.
        """
        ...

    def no_gate(self, name: str, table: str) -> str:
        """Return the statement that takes a trigger away, as the query `gates` names it."""
        ...

    def lock_holders(self) -> set[int]:
        """Return the processes of this host that are in a transaction just now."""
        ...


def dialects_of(url: str) -> tuple[Dialect, Dialect]:
    """Return the dialects of the runs and of the logs of a store; raises ConfigError."""
    if is_postgres(url):
        return Postgres(url), Postgres(url)
    if is_mysql(url):
        return Mysql(url), Mysql(url)
    path = sqlite_path(url)
    if path is None:
        kind = url.partition("://")[0]
        problem = f"store={without_password(url)!r}: this version knows sqlite:///path, "
        raise ConfigError(problems=[f"{problem}postgresql:// and mysql:// stores, not {kind}"])
    logs = path.with_name(f"{path.stem}.logs{path.suffix or '.db'}")
    # A run is enqueued by a commit of five pages: half as large, it takes a tenth less time.
    return Sqlite(path, "sqlite", page=2048), Sqlite(logs, "sqlite_logs", shrinks=True)
