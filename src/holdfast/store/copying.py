"""Copy the rows of a table to another store, in the order of its key and in bounded memory.

Each batch is a transaction of its own, so what has arrived is always the first part of the table:
a copy that was cut off goes on behind it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.store import tables
from holdfast.store.gates import ARRIVED, ARRIVING, HERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.store.database import Database, Tx
    from holdfast.store.tables import Table

    Place = tuple[Any, ...]  # the values of a key
    Record = dict[str, Any]

PAGE = 16  # rows read by one query: each may have a mebibyte or two
BATCH_ROWS = 1000  # written by one transaction,
BATCH_BYTES = 2 << 20  # or when it has so many
COUNTED = 50_000  # rows counted by one query: a server gives it some seconds only


class Overtaken(Exception):
    """Tell that nothing more is to be copied: the move was completed, or given up."""


class Copy:
    """Copy one table from one database to another."""

    def __init__(self, source: Database, target: Database, table: Table, move_id: str) -> None:
        self._source = source
        self._target = target
        self._table = table
        self._move_id = move_id
        columns = source.read(lambda tx: tx.rows("columns_of", name=table.name))
        self._columns = [name for (name,) in columns]
        known = tables.statements(table, self._columns)
        for database in (source, target):
            database.learn(known)

    def is_begun(self) -> bool:
        """Tell whether the target has any row."""
        return self._last() is not None

    def to_copy(self) -> int:
        """Return how many rows the source has."""
        return self._count(self._source)

    def copied(self) -> int:
        """Return how many rows the target has."""
        return self._count(self._target)

    def go_on(self) -> Iterator[int]:
        """Copy what is missing at the end of the target; yield the number of rows of each batch.

        Raises Overtaken.
        """
        after = self._last()
        while rows := self._source.read(partial(self._read, after)):
            # Repeated when the answer to its commit is lost, it changes nothing.
            self._target.write(partial(self._write, rows), repeatable=True)
            after = self._place(rows[-1])
            yield len(rows)

    def _place(self, row: Record) -> Place:
        return tuple(row[column] for column in self._table.key)

    def _last(self) -> Place | None:
        return self._target.read(lambda tx: tx.row(f"{self._table.name}.last"))

    def _read(self, after: Place | None, tx: Tx) -> list[Record]:
        """Return the rows of the next batch."""
        rows: list[Record] = []
        size = 0
        while len(rows) < BATCH_ROWS and size < BATCH_BYTES:
            page = self._page(after, tx)
            rows += page
            size += sum(map(_size, page))
            if len(page) < PAGE:
                break
            after = self._place(page[-1])
        return rows

    def _page(self, after: Place | None, tx: Tx) -> list[Record]:
        """Return some rows that follow a place: those that share most of its key come first."""
        key = self._table.key
        place = dict(zip(key, after or ("",), strict=False))
        found: list[Any] = []
        for depth in range(len(place), 0, -1):
            if len(found) < PAGE:
                query = f"{self._table.name}.page.{depth}"
                found += tx.rows(query, **place, limit=PAGE - len(found))
        return [dict(zip(self._columns, row, strict=True)) for row in found]

    def _write(self, rows: Sequence[Record], tx: Tx) -> None:
        """Write a batch through the gates of the target, which this transaction alone opens."""
        place = {"leads": HERE, "move_id": self._move_id}
        if tx.execute("step_move", **place, before=ARRIVING, state=ARRIVED) != 1:
            raise Overtaken
        fresh = tx.many(f"{self._table.name}.insert", rows) == len(rows)
        tx.execute("end_batch", move_id=self._move_id, **_worth(self._table, rows if fresh else ()))

    def _count(self, database: Database) -> int:
        total, after = 0, ""
        name = self._table.name
        while True:
            until = database.read(partial(_one, f"{name}.mark", after=after, skip=COUNTED - 1))
            if until is None:
                rest = database.read(partial(_one, f"{name}.count_rest", after=after))
                return total + int(rest)
            total += database.read(partial(_one, f"{name}.count", after=after, until=until))
            after = until


def _one(query: str, tx: Tx, **parameters: Any) -> Any:
    row = tx.row(query, **parameters)
    return None if row is None else row[0]


def _size(row: Record) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str | bytes))


def _worth(table: Table, rows: Sequence[Record]) -> dict[str, int]:
    """Return what people will be told of some rows."""
    worth = {"runs": 0, "attempts": 0, "log_bytes": 0}
    match table.name:
        case "run":
            worth["runs"] = len(rows)
        case "attempt":
            worth["attempts"] = len(rows)
        case "ended":
            worth["attempts"] = sum(row["outcome"] is not None for row in rows)
        case "log_chunk":
            worth["log_bytes"] = sum(len(row["data"]) for row in rows)
        case "log_block":
            worth["log_bytes"] = sum(row["size"] for row in rows)
    return worth
