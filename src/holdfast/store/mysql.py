"""Keep the store in MySQL or MariaDB, where workers on any number of machines share it."""

from __future__ import annotations

import re
import socket
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from holdfast.core.clock import SECOND
from holdfast.core.config import without_password
from holdfast.core.errors import BadOption, ConfigError, MissingDriver, ServerTooOld
from holdfast.core.models import Durability
from holdfast.core.texts import shorten
from holdfast.store.joining import SAVEPOINT, Place, at_once
from holdfast.store.mysql_connection import DUPLICATE, TOO_LARGE, Connection
from holdfast.store.poll import PollBell
from holdfast.store.queries import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.clock import Clock
    from holdfast.store.database import Database
    from holdfast.store.joining import Brackets
    from holdfast.store.mysql_connection import Cursor

_TABLE = re.compile(r"(?<!@)@(?=[a-z])")
_NAMED = re.compile(r"(?<!:):([a-z_]+)")
_RESERVED = re.compile(r"(?<![:\w])(usage|lines)\b")  # columns of ours, words of their SQL
_UNLESS_THERE = re.compile(r"INSERT (.*)\s+ON CONFLICT DO NOTHING", re.DOTALL)
_PORT = 3306
_CHARSET = "utf8mb4"
# Written out, as `install_as_MySQLdb` and Django together leave the driver without most constants.
_FOUND_ROWS, _MULTI_STATEMENTS = 1 << 1, 1 << 16
_OPTIONS = {"ssl_ca", "unix_socket"}  # what may stand behind the ? of a URL

# No socket waits without a limit: a dead peer is noticed within about ten seconds.
_CONNECT_SECONDS = 5
_READ_SECONDS = 35  # longer than any statement may take
_SAFETY = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _CONNECT_SECONDS}
_SAFETY |= {"write_timeout": 10}
_KEEPALIVE = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,  # milliseconds
}
# Whatever the server's defaults are. The two kinds of comments are each read by one server alone.
# Locks of a machine that is lost are given back when the server has heard nothing for a while.
_SESSION = """
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',
    innodb_lock_wait_timeout = 5, lock_wait_timeout = 10, wait_timeout = 60,
    max_error_count = 65535
    /*M! , max_statement_time = 30, idle_transaction_timeout = 30 */
    /*!80003 , max_execution_time = 30000 */
"""
_OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0, 17)}  # with SKIP LOCKED, and texts as bytes

_FIRST_OF_CLIENT, _LAST_OF_CLIENT = 2000, 2999  # codes that no server sends
_NO_CONNECTION = 0
_CUT = frozenset({1053, 1077, 1079, 1152, 1180, 1184, 1317, 1927, 4031})  # in the middle
_READ_ONLY = frozenset({1290, 1836})
_BUSY = frozenset(
    {
        *(1205, 1213),  # a lock was not given in time; a deadlock
        *(1020, 1412, 1637),  # what was read has changed; the schema has; too many transactions
        *(1040, 1203, 1226),  # too many connections
        *(1047, *_READ_ONLY),  # a node of a cluster that is not ready; no primary any more
        *(1969, 3024),  # a statement took too long
        *(1158, 1159, 1160, 1161),  # the network
    }
)
_REFUSALS = frozenset(
    {
        *(1048, 1364, DUPLICATE, 1451, 1452, 3819, 4025),  # constraints
        *(1264, 1265, 1292, 1300, 1366, 1406, 1690),  # too long, too large, no text
        *(1644, TOO_LARGE),  # a trigger says no; above max_allowed_packet
    }
)
_NO_TABLE = 1146
_RACE = re.compile(r"for key '(\w+\.)?live_dedupe_idx'")

_LONGEST_MESSAGE = 128  # characters
_GATE = Template("""
CREATE TRIGGER $name BEFORE $change ON holdfast_$table FOR EACH ROW
IF NOT EXISTS (SELECT 1 FROM holdfast_move WHERE move_id = '$move_id' AND state = 'arrived')
THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '$words'; END IF
""")


class Mysql:
    """Speak to one database of a MySQL or MariaDB server; our tables begin with ``holdfast_``."""

    name = schema = "mysql"
    begin_write = "START TRANSACTION"
    begin_read = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY"
    limits = ""
    most_idle = 30.0  # seconds: a firewall may have dropped what was idle for longer
    driver = "PyMySQL"
    has_async = False
    one_writer = False
    connections_stay = False  # USE leads to another database

    def __init__(self, url: str) -> None:
        self.url = without_password(url)
        self._target = _target(url)
        self._driver = _driver()

    def adapt(self, sql: str) -> Query:
        """Return a statement as the driver takes it, with the names of our tables."""
        names = _NAMED.findall(sql)
        sql = _TABLE.sub("holdfast_", sql.replace("%", "%%"))
        sql = _UNLESS_THERE.sub(r"INSERT IGNORE \1", sql)
        text = _NAMED.sub(r"%(\1)s", _RESERVED.sub(r"`\1`", sql))
        # The driver writes all that it is given into SQL, also what the statement does not name.
        return Query(text, lambda values: {name: values[name] for name in names})

    def connect(self) -> Connection:
        """Open a connection in autocommit mode, ready for use; raises ServerTooOld."""
        raw = self._driver.Connection(
            **self._target,
            **_SAFETY,
            charset=_CHARSET,
            autocommit=True,
            program_name="holdfast",
            # An update says how many rows it has found, also where they were so already.
            client_flag=_FOUND_ROWS | _MULTI_STATEMENTS,
        )
        try:
            self._check_version(raw.get_server_info())
            _keep_alive(raw)
            connection = Connection(raw, self._driver)
            connection.execute(_SESSION)
        except BaseException:
            raw.close()
            raise
        return connection

    def _check_version(self, text: str) -> None:
        kind = "MariaDB" if "mariadb" in text.lower() else "MySQL"
        numbers = tuple(map(int, re.findall(r"\d+", text.removeprefix("5.5.5-"))[:3]))
        if numbers < _OLDEST[kind]:
            needed = " or ".join(f"{k} {'.'.join(map(str, v))}" for k, v in _OLDEST.items())
            raise ServerTooOld(store=self.url, found=f"{kind} {text}", needed=needed)

    def ahead(self, connection: Connection, clock: Clock) -> int:
        """Return by how many microseconds the server's clock is ahead: all workers go by that."""
        before = clock.now()
        asked = f"SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * {SECOND} AS SIGNED)"
        theirs: int = connection.execute(asked).fetchone()[0]
        return theirs - (before + clock.now()) // 2

    def bell(self, database: Database) -> PollBell:
        """Return what wakes workers: the server has no notifications, so they look."""
        return PollBell(database)

    def in_transaction(self, connection: Any) -> bool:
        """Tell whether a transaction has to be rolled back."""
        return self._ours(connection).in_transaction

    def durability(self, flush: int, pages: Any, binlog: int, *rest: Any) -> Durability:
        """Judge the settings of the server."""
        sync, form, cluster = rest
        settings = f"innodb_flush_log_at_trx_commit {flush}, innodb_doublewrite {pages}"
        settings += f", log_bin {binlog}, sync_binlog {sync}, binlog_format {form}"
        settings += f", wsrep_on {cluster}"
        danger = ""
        if binlog and form == "STATEMENT":
            danger = "the server refuses to write with binlog_format STATEMENT: set it to ROW"
        elif _is_on(cluster):
            danger = "nodes of Galera do not see each other's locks: let all workers use one node"
        elif not _is_on(pages):
            danger = "a power cut can destroy the store"
        elif not flush:
            danger = "a crash of the server loses accepted runs"
        elif flush != 1 or (binlog and sync != 1):
            danger = "a power cut loses accepted runs"
        survives = "a commit survives a power cut, and not the loss of the server's disk"
        return Durability(settings, "" if danger else survives, danger)

    def check_ours(self, table: str) -> None:
        """Do nothing: nobody else gives tables such names."""

    def lock_holders(self) -> set[int]:
        """Return nobody: who writes on keeps no other from writing."""
        return set()

    def is_error(self, error: BaseException) -> bool:
        """Tell whether the driver raised this."""
        return isinstance(error, self._driver.Error)

    def is_refusal(self, error: BaseException) -> bool:
        """Tell whether a value or a row is not accepted, and never will be."""
        if isinstance(error, UnicodeEncodeError):
            return True
        return self._code(error) in _REFUSALS and not self.is_race(error)

    def words(self, error: BaseException) -> str:
        """Return what the server says of a refusal, without its number."""
        return str(error.args[-1]) if self._code(error) else str(error)

    def gates(
        self, table: str, changes: Sequence[str], move_id: str, refusal: str
    ) -> dict[str, str]:
        """Return the triggers that let only a move change a table: name -> statement."""
        words = shorten(refusal, _LONGEST_MESSAGE).replace("\\", "\\\\").replace("'", "''")
        values = {"table": table, "move_id": move_id, "words": words}
        names = {f"closed_{table}_{change.lower()}_{move_id[-12:]}": change for change in changes}
        return {
            name: _GATE.substitute(values, name=name, change=change)
            for name, change in names.items()
        }

    def no_gate(self, name: str, table: str) -> str:  # noqa: ARG002 - part of Dialect
        """Return the statement that takes a trigger away."""
        return f"DROP TRIGGER IF EXISTS {name}"

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether the whole transaction may be tried again, on a new connection perhaps."""
        return self._code(error) in _BUSY or self.is_half_done(error) or self.is_race(error)

    def is_elsewhere(self, error: BaseException) -> bool:
        """Tell whether the server is not the primary one any more."""
        return self._code(error) in _READ_ONLY

    def is_half_done(self, error: BaseException) -> bool:
        """Tell whether a commit that failed so may have been done: its answer did not come."""
        code = self._code(error)
        if code is None:
            return False
        is_lost = code == _NO_CONNECTION or _FIRST_OF_CLIENT <= code <= _LAST_OF_CLIENT
        return is_lost or code in _CUT

    def is_no_table(self, error: BaseException) -> bool:
        """Tell whether the schema is not there yet."""
        return self._code(error) == _NO_TABLE

    def is_race(self, error: BaseException) -> bool:
        """Tell whether somebody else has just made what we have looked for and not found."""
        return error.args[:1] == (DUPLICATE,) and bool(_RACE.search(str(error.args[1])))

    def is_ours(self, connection: Any) -> bool:
        """Tell whether PyMySQL made it."""
        return isinstance(connection, self._driver.Connection)

    def trouble(self, connection: Any) -> str | None:
        """Return why nothing can be written on a connection of a caller now."""
        if not connection.open:
            return "your connection is closed"
        if not connection.use_unicode:
            return "it gives bytes for texts: open it with use_unicode=True"
        found = connection._result  # noqa: SLF001 - no other way
        if found is not None and (found.unbuffered_active or found.has_next):
            return "a statement is still going on there, such as a stream"
        return None

    def cursor(self, connection: Any) -> Cursor:
        """Return a cursor that gives tuples, however a caller has set up his connection."""
        return self._ours(connection).cursor()

    def brackets(self, connection: Any) -> Brackets:
        """Return what makes our statements one part of the caller's transaction.

        Unless in autocommit mode, the server begins one with the first statement, which may have
        been a SELECT: the driver does not tell that.
        """
        if self.in_transaction(connection):
            return SAVEPOINT
        if connection.get_autocommit():
            return at_once("START TRANSACTION")
        return SAVEPOINT._replace(joins=False)

    def place(self, row: Any) -> Place:
        """Tell which database this is: by its name, and the host, port and folder of the server.

        Raises BadOption where texts would not arrive as they are sent.
        """
        *key, client, literal = row
        if (client, literal) != (_CHARSET, _CHARSET):
            raise BadOption(
                option="charset of the connection", value=client, expected=repr(_CHARSET)
            )
        host, port, folder, name = key
        return Place(tuple(key), f"database {name!r} at {host}:{port} (folder {folder})")

    def _ours(self, connection: Any) -> Connection:
        """Return a connection as we use it: of a caller there is the driver's."""
        if isinstance(connection, Connection):
            return connection
        return Connection(connection, self._driver)

    def _code(self, error: BaseException) -> int | None:
        known = isinstance(error, self._driver.Error) and error.args
        return error.args[0] if known and isinstance(error.args[0], int) else None


def _is_on(value: Any) -> bool:
    return str(value).upper() not in ("0", "OFF")


def _keep_alive(raw: Any) -> None:
    """Let the kernel look after the connection, and answers take as long as statements may."""
    line = raw._sock  # noqa: SLF001 - the driver has no words for this
    if line.family != socket.AF_UNIX:
        for name, value in _KEEPALIVE.items():
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    raw._read_timeout = _READ_SECONDS  # noqa: SLF001 - the handshake has less


def _target(url: str) -> dict[str, Any]:
    """Return what the driver is told of a URL; raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, port, options = parts.hostname, parts.port or _PORT, dict(parse_qsl(parts.query))
    except ValueError as error:
        raise ConfigError(problems=[f"store={without_password(url)!r}: {error}"]) from None
    database = unquote(parts.path.removeprefix("/"))
    if not host or not database or "/" in database or set(options) - _OPTIONS:
        expected = "mysql://user:password@host:port/database, and ?ssl_ca= or ?unix_socket= perhaps"
        raise ConfigError(problems=[f"store={without_password(url)!r}: expected {expected}"])
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    login = {"user": user, "password": password} if user else {}
    return {"host": host, "port": port, "database": database, **login, **options}


def _driver() -> Any:
    try:
        import pymysql  # type: ignore[import-untyped]
    except ImportError:
        raise MissingDriver(store="mysql", package="holdfast[mysql]") from None
    return pymysql
