"""Let the transactions of a real database fail in the five ways in which a database can.

The names are those of Temporal's fault injection: ShardOwnershipLost, Timeout, ExecuteAndTimeout,
ResourceExhausted, Unavailable.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing, contextmanager

import psycopg
import pymysql

from holdfast.store.database import Transaction, Tx

OWNERSHIP_LOST = "somebody else comes first"
TIMEOUT = "an error before anything is done"
DONE_THEN_ERROR = "done, and then an error"
EXHAUSTED = "busy for a while"
UNAVAILABLE = "an error in the middle"
FAULTS = (OWNERSHIP_LOST, TIMEOUT, DONE_THEN_ERROR, EXHAUSTED, UNAVAILABLE)

_BUSY_TIMES = 2


class Faults:
    """Strike the next transactions of a database, once each."""

    def __init__(self, database, struck=None):
        self._database = database
        self._pending = []
        self._meanwhile = None
        self.struck = Counter() if struck is None else struck
        database.transaction = self._transaction

    @contextmanager
    def next(self, fault, meanwhile=lambda: None):
        """Let a fault strike the next transaction; `meanwhile` is what comes first."""
        self._meanwhile = meanwhile
        self._pending = [fault] * (_BUSY_TIMES if fault == EXHAUSTED else 1) if fault else []
        try:
            yield
        finally:
            self._pending = []

    def _transaction(self, begin=None):
        database = self._database
        reads = begin == database.dialect.begin_read  # and has nothing that may be done already
        waits = reads and DONE_THEN_ERROR in self._pending
        fault = self._pending.pop() if self._pending and not waits else None
        if fault is None:
            kind = Transaction
        else:
            self.struck[fault] += 1
            kind = _KINDS[fault]
        if fault == OWNERSHIP_LOST:
            self._meanwhile()
        begin = database.dialect.begin_write if begin is None else begin
        return kind(database._connections, database.dialect, database._tx, begin)


def failure(dialect, text):
    """What the driver raises when the disk fails, or the connection."""
    if dialect.name == "postgres":
        return psycopg.OperationalError(text)
    if dialect.name == "mysql":
        return pymysql.OperationalError(2013, text)
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


class _Timeout(Transaction):
    def __enter__(self):
        raise failure(self._dialect, "no answer")


class _DoneThenError(Transaction):
    def __exit__(self, kind, *rest):
        super().__exit__(kind, *rest)
        if kind is None:
            raise failure(self._dialect, "the answer was lost")


class _Exhausted(Transaction):
    """Somebody else holds the lock, and lets go of it right after."""

    def __enter__(self):
        if self._dialect.name == "postgres":
            raise psycopg.errors.LockNotAvailable
        if self._dialect.name == "mysql":
            raise pymysql.OperationalError(1205, "Lock wait timeout exceeded")
        with closing(sqlite3.connect(self._dialect.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            return super().__enter__()


class _Unavailable(Transaction):
    """The first statement that changes something is carried out, and the next one fails."""

    def __enter__(self):
        tx = super().__enter__()
        return _FailingTx(self._dialect, tx._connection, tx._queries, tx.now)


class _FailingTx(Tx):
    def __init__(self, dialect, *arguments):
        super().__init__(*arguments)
        self._dialect = dialect
        self._changes = 0

    def execute(self, query, **parameters):
        self._fail()
        return super().execute(query, **parameters)

    def many(self, query, rows):
        self._fail()
        return super().many(query, rows)

    def _fail(self):
        self._changes += 1
        if self._changes > 1:
            raise failure(self._dialect, "the line is cut")


_KINDS = {
    OWNERSHIP_LOST: Transaction,
    TIMEOUT: _Timeout,
    DONE_THEN_ERROR: _DoneThenError,
    EXHAUSTED: _Exhausted,
    UNAVAILABLE: _Unavailable,
}
