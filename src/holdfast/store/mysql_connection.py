"""Let transactions use a connection of PyMySQL as they use those of the other drivers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TOO_LARGE = 1153  # the server's code for a statement above its max_allowed_packet
DUPLICATE = 1062
_IN_TRANSACTION = 1  # a flag of the server's status
_BATCH = 1 << 20  # bytes of statements that are sent together
_SMALL = 1 << 10  # bytes that every server takes: the least that max_allowed_packet can be
_VALUES = re.compile(r"(INSERT\b.+?\bVALUES\s*)(\(.+\))", re.DOTALL)


class Connection:
    """Carry out statements; many of one kind go to the server in few messages."""

    def __init__(self, raw: Any, driver: Any) -> None:
        self._raw = raw
        self._driver = driver
        self._pid = os.getpid()
        self._largest: int | None = None  # bytes of one statement, as the server has told

    @property
    def in_transaction(self) -> bool:
        """Tell whether a transaction has to be rolled back; what is gone cannot be, and says so."""
        return not self._raw.open or bool(self._raw.server_status & _IN_TRANSACTION)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Carry out a statement, or several with `;` between them, and return the last cursor."""
        cursor = self._plain()
        self._send(cursor, sql if parameters is None else cursor.mogrify(sql, parameters))
        return cursor

    def cursor(self) -> Cursor:
        """Return what carries out a statement for one or for each of many parameter sets."""
        return Cursor(self)

    def _plain(self) -> Any:
        """Return a cursor that gives tuples; a caller may have chosen another kind."""
        return self._raw.cursor(self._driver.cursors.Cursor)

    def each(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Carry out a statement for each of many parameter sets; return the rows changed.

        Rows to insert become one statement, all others are sent with `;` between them.
        """
        cursor = self._plain()
        insert = _VALUES.fullmatch(sql)
        head, one, joint = (insert[1], insert[2], ",") if insert else ("", sql, ";")
        texts = (cursor.mogrify(one, row) for row in rows)
        return sum(self._send(cursor, head + joint.join(part)) for part in self._batches(texts))

    def _batches(self, texts: Iterable[str]) -> Iterator[list[str]]:
        part: list[str] = []
        size, most = 0, min(_BATCH, self._most() // 2)
        for text in texts:
            length = len(text.encode())
            if part and size + length > most:
                yield part
                part, size = [], 0
            part.append(text)
            size += length
        yield part

    def _send(self, cursor: Any, text: str) -> int:
        """Send statements and return how many rows they changed together."""
        data = self._fitting(text)
        try:
            changed: int = cursor.execute(data)
            while cursor.nextset():
                changed += cursor.rowcount
            if cursor.warning_count and text.startswith("INSERT"):
                self._look_at_warnings()
            return changed
        except BaseException as error:
            if not isinstance(error, self._driver.Error):
                self.close()  # cut off in the middle: the next answer would be the one to this
            raise

    def _fitting(self, text: str) -> bytes:
        """Return a statement as it is sent; the server cuts the connection for a larger one."""
        data = text.encode()
        if len(data) > _SMALL and len(data) >= self._most():
            problem = f"{len(data)} bytes are above the server's max_allowed_packet"
            raise self._driver.DataError(TOO_LARGE, f"{problem} of {self._most()}")
        return data

    def _most(self) -> int:
        """Return how many bytes the server takes at once."""
        if self._largest is None:
            cursor = self._plain()
            cursor.execute("SELECT @@max_allowed_packet")
            self._largest = cursor.fetchone()[0]
        return self._largest

    def _look_at_warnings(self) -> None:
        """Raise what is only a warning, such as for a text that was cut; not for a row twice.

        INSERT IGNORE makes them of errors, and so does a caller's session that is not strict.
        """
        unseen = [("", None, "the server tells no warnings: set max_error_count")]
        for _, code, text in self._raw.show_warnings() or unseen:
            if code != DUPLICATE:
                raise self._driver.DataError(code, text)

    def close(self) -> None:
        """Close it. A child that inherited it says no word: it is its parent's connection."""
        if os.getpid() != self._pid:
            self._raw._force_close()  # noqa: SLF001 - there is no other door
        elif self._raw.open:
            self._raw.close()


class Cursor:
    """Carry out statements and give rows, as a cursor of the other drivers does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: Any = None
        self.rowcount = 0

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Carry out one statement."""
        self._found = self._connection.execute(sql, parameters)
        self.rowcount = self._found.rowcount

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._found.fetchone()

    def fetchall(self) -> Any:
        """Return all other rows."""
        return self._found.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._found)

    def executemany(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Carry out the statement for all of them."""
        self.rowcount = self._connection.each(sql, rows)
