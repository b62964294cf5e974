"""Keep the store in PostgreSQL, where any number of workers on any number of machines share it."""

from __future__ import annotations

import re
from operator import itemgetter
from string import Template
from typing import TYPE_CHECKING, Any

from holdfast.core.clock import SECOND
from holdfast.core.config import without_password
from holdfast.core.errors import MissingDriver
from holdfast.core.models import Durability
from holdfast.store.joining import SAVEPOINT, Place, at_once, opening
from holdfast.store.notify import NotifyBell
from holdfast.store.queries import Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection, Cursor

    from holdfast.core.clock import Clock
    from holdfast.store.database import Database
    from holdfast.store.joining import Brackets
    from holdfast.store.queries import Values

_MAYBE = re.compile(r"(:[a-z_]+) IS NULL")  # the server cannot know the type of what may be NULL
_LIST = re.compile(r"\bIN (:[a-z_]+)")
_NAMED = re.compile(r"(?<!:):([a-z_]+)")
_COPY = re.compile(r"COPY \S+ \(([a-z_,\s]+)\) FROM STDIN")
# No socket waits without a limit: a dead peer is noticed within about ten seconds.
_SAFETY = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
    "application_name": "holdfast",
}
_LIMITS = {  # no transaction of ours is that long
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    # Of a table that nobody has analysed yet, the planner thinks wrong:
    "jit": "off",  # that a statement is long enough to be compiled,
    "enable_bitmapscan": "off",  # or that a queue is so short that it may as well be sorted.
}
# Behind a pooler the next statement may go to another session, and ours are not to be left in any.
# It gives its clients numbers of its own, so there the number that we were told is not that of who
# answers. A parameter of the start would be refused by some, and by others not passed on.
_SET_LIMITS = """
SELECT set_config(name, value, false)
FROM unnest(%(names)s::text[], %(limits)s::text[]) AS ours (name, value)
WHERE pg_backend_pid() = %(pid)s
"""
_TRY_AGAIN = frozenset({"40001", "40P01", "53300", "55P03", "57014", "25P03"})
_LOST = ("08", "57P")  # a commit that ends so may have been done
_READ_ONLY = "25006"
_REFUSALS = ("22", "23")  # classes of SQLSTATE: data exception, constraint violation
_SET_LOCAL = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in _LIMITS.items())
_NO_TABLE = frozenset({"42P01", "3F000"})
_RACES = frozenset({"live_dedupe_idx"})
_IDLE, _ACTIVE, _ABORTED = 0, 1, 3  # of pq.TransactionStatus
_NO_PIPELINE = 0  # of pq.PipelineStatus

# What it raises is of a class that is a refusal.
_GATE = Template("""
CREATE OR REPLACE FUNCTION holdfast.refuse() RETURNS trigger LANGUAGE plpgsql AS $$$$
BEGIN
    IF EXISTS (SELECT 1 FROM holdfast.move WHERE move_id = TG_ARGV[0] AND state = 'arrived') THEN
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[1];
END $$$$;
CREATE TRIGGER $name BEFORE $changes ON holdfast.$table
FOR EACH ROW EXECUTE FUNCTION holdfast.refuse('$move_id', E'$words')
""")


class Postgres:
    """Speak to one PostgreSQL database; its tables are in a schema of their own, `holdfast`."""

    name = schema = "postgres"
    begin_write = "BEGIN"
    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    limits = ""
    most_idle = 30.0  # seconds: a firewall may have dropped what was idle for longer
    driver = "psycopg 3"
    has_async = True
    one_writer = False
    connections_stay = True

    def __init__(self, url: str) -> None:
        self.url = without_password(url)
        self._address = url
        self._driver = _driver()

    def adapt(self, sql: str) -> Query:
        """Return a statement as the driver takes it, with tables in our schema.

        A COPY takes all rows in one round trip, at half the price of an INSERT for each.
        """
        sql = sql.replace("%", "%%").replace("@", "holdfast.")
        if columns := _COPY.fullmatch(sql):
            names = [name.strip() for name in columns[1].split(",")]
            return Query(sql, itemgetter(*names), self._copy)
        sql = _LIST.sub(r"= ANY(\1)", _MAYBE.sub(r"\1::text IS NULL", sql))
        return Query(_NAMED.sub(r"%(\1)s", sql), _as_they_are)

    def _copy(self, cursor: Cursor[Any], sql: str, rows: Iterable[Any]) -> None:
        try:
            with cursor.copy(sql) as copy:
                for row in rows:
                    copy.write_row(row)
        except ValueError as error:
            if not cursor.connection.closed:
                raise
            # A pooler whose server has died answers twice, and psycopg 3.3 expects one answer.
            problem = "the connection was lost within COPY"
            raise self._driver.OperationalError(problem) from error

    def connect(self) -> Connection[Any]:
        """Open a connection in autocommit mode, ready for use."""
        connection: Connection[Any] = self._driver.connect(
            self._address, autocommit=True, **_SAFETY, **self._choice()
        )
        names, limits = map(list, (_LIMITS, _LIMITS.values()))
        values = {"names": names, "limits": limits, "pid": connection.info.backend_pid}
        try:
            is_ours = connection.execute(_SET_LIMITS, values).rowcount > 0
        except BaseException:
            connection.close()
            raise
        self.limits = "" if is_ours else _SET_LOCAL
        if not is_ours:
            connection.prepare_threshold = None
        return connection

    def _choice(self) -> dict[str, str]:
        """Say which of several servers is wanted, unless the address does: who takes writes."""
        given = self._driver.conninfo.conninfo_to_dict(self._address)
        several = "," in f"{given.get('host', '')}{given.get('hostaddr', '')}"
        wanted = {"target_session_attrs": "read-write"}
        return wanted if several and not given.keys() & wanted else {}

    def hears(self, connection: Connection[Any]) -> bool:
        """Tell whether NOTIFY reaches a connection: a pooler has other sessions listen."""
        return connection.prepare_threshold is not None

    def ahead(self, connection: Connection[Any], clock: Clock) -> int:
        """Return by how many microseconds the server's clock is ahead: all workers go by that."""
        before = clock.now()
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
        assert row is not None, "a function always answers"
        return int(row[0] * SECOND) - (before + clock.now()) // 2

    def bell(self, database: Database) -> NotifyBell:
        """Return what wakes workers, wherever they are."""
        return NotifyBell(database, self.hears)

    def in_transaction(self, connection: Connection[Any]) -> bool:
        """Tell whether a transaction is open, or was given up."""
        return connection.info.transaction_status != _IDLE

    def durability(self, fsync: str, pages: str, commit: str, standbys: str) -> Durability:
        """Judge the settings of the server."""
        settings = f"fsync {fsync}, full_page_writes {pages}, synchronous_commit {commit}"
        if "off" in (fsync, pages):
            return Durability(settings, "", "a power cut can destroy the store")
        if commit == "off":
            return Durability(settings, "", "a crash of the server loses accepted runs")
        settings += f", synchronous_standby_names {standbys or '(none)'}"
        if standbys and commit != "local":
            return Durability(settings, "a commit survives the loss of the server")
        return Durability(
            settings, "a commit survives a power cut, and not the loss of the server's disk"
        )

    def check_ours(self, table: str) -> None:
        """Do nothing: nobody else makes a schema of this name."""

    def lock_holders(self) -> set[int]:
        """Return nobody: who writes on keeps no other from writing."""
        return set()

    def is_error(self, error: BaseException) -> bool:
        """Tell whether the driver raised this."""
        return isinstance(error, self._driver.Error)

    def is_refusal(self, error: BaseException) -> bool:
        """Tell whether a value or a row is not accepted, and never will be."""
        state = getattr(error, "sqlstate", None)
        if state is None:
            return isinstance(error, self._driver.DataError | UnicodeEncodeError)
        return state.startswith(_REFUSALS) and not self.is_race(error)

    def words(self, error: BaseException) -> str:
        """Return what the server says of a refusal, without the place in our function."""
        diagnosis = getattr(error, "diag", None)
        return getattr(diagnosis, "message_primary", None) or str(error)

    def gates(
        self, table: str, changes: Sequence[str], move_id: str, refusal: str
    ) -> dict[str, str]:
        """Return the trigger that lets only a move change a table: name -> statements."""
        name = f"closed_{table}_{move_id[-12:]}"
        words = refusal.replace("\\", "\\\\").replace("'", "''")
        values = {"name": name, "table": table, "move_id": move_id, "words": words}
        return {name: _GATE.substitute(values, changes=" OR ".join(changes))}

    def no_gate(self, name: str, table: str) -> str:
        """Return the statement that takes a trigger away."""
        return f"DROP TRIGGER IF EXISTS {name} ON holdfast.{table}"

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether the whole transaction may be tried again, on a new connection perhaps."""
        state = getattr(error, "sqlstate", None)
        if state is None:  # the connection is gone
            return isinstance(error, self._driver.OperationalError)
        return state in _TRY_AGAIN or state.startswith(_LOST) or self.is_race(error)

    def is_elsewhere(self, error: BaseException) -> bool:
        """Tell whether the server is a standby, or was made one."""
        return getattr(error, "sqlstate", None) == _READ_ONLY

    def is_half_done(self, error: BaseException) -> bool:
        """Tell whether a commit that failed so may have been done: its answer did not come."""
        state = getattr(error, "sqlstate", None)
        return state is None or state.startswith(_LOST)

    def is_no_table(self, error: BaseException) -> bool:
        """Tell whether the schema is not there yet."""
        return getattr(error, "sqlstate", None) in _NO_TABLE

    def is_race(self, error: BaseException) -> bool:
        """Tell whether somebody else has just made what we have looked for and not found."""
        diagnosis = getattr(error, "diag", None)
        return diagnosis is not None and diagnosis.constraint_name in _RACES

    def is_ours(self, connection: Any) -> bool:
        """Tell whether psycopg 3 made it; an async one has to stand behind a sync face."""
        behind = getattr(connection, "driver_connection", None)
        return isinstance(connection, self._driver.Connection) or isinstance(
            behind, self._driver.AsyncConnection
        )

    def trouble(self, connection: Any) -> str | None:
        """Return why nothing can be written on a connection of a caller now."""
        if connection.closed:
            return "your connection is closed"
        if connection.info.transaction_status == _ABORTED:
            return "an earlier error has aborted your transaction"
        if connection.info.pipeline_status != _NO_PIPELINE:
            return "it is in a pipeline, where errors come when it is too late"
        if connection.info.transaction_status == _ACTIVE:
            return "a statement is still going on there, such as a stream or a COPY"
        return None

    def cursor(self, connection: Any) -> Any:
        """Return a cursor that gives tuples, however a caller has set up his connection."""
        if isinstance(connection, self._driver.Connection):
            return self._driver.Cursor(connection, row_factory=self._driver.rows.tuple_row)
        return connection.cursor()  # what SQLAlchemy sets up gives tuples

    def brackets(self, connection: Any) -> Brackets:
        """Return what makes our statements one part of the caller's transaction.

        Unless in autocommit mode, the driver itself begins one before the first statement.
        """
        if self.in_transaction(connection):
            return SAVEPOINT
        return at_once("BEGIN") if connection.autocommit else opening()

    def place(self, row: Any) -> Place:
        """Tell which database this is: by its number, and that of the cluster of the server."""
        cluster, number, name, address, port = row
        where = f"{address}:{port}" if address else "a local socket"
        return Place((cluster, number), f"database {name!r} at {where} (cluster {cluster})")


def _driver() -> Any:
    try:
        import psycopg
    except ImportError:
        raise MissingDriver(store="postgresql", package="holdfast[postgres]") from None
    return psycopg


def _as_they_are(values: Values) -> Values:
    return values
