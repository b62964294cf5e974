"""The ceiling: SQLite alone, a row as wide as one of Holdfast's, synced at every commit."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from holdfast import App, new_id

COMMIT_EVERY = 1000  # rows, as `enqueue_many` does
CLAIM = 100  # rows that are taken at once


def _row_of_holdfast() -> tuple[str | int, ...]:
    """Return the values of a run that Holdfast stored, without its id."""
    with tempfile.TemporaryDirectory() as folder:
        app = App(store=f"sqlite:///{folder}/holdfast.db")
        record = app.task(name="noop")(_noop).enqueue().record
        app.store.close()
    values = (record.task, record.queue, record.priority, record.arguments, record.options)
    return (*values, record.created_at, record.concurrency_limit)


def _noop() -> None:
    """Do nothing: it is only enqueued."""


_ROW = _row_of_holdfast()
_FILE = Path(os.environ["BENCH_STORE"]) / "bare.db"
_INSERT = "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)"
_connection = sqlite3.connect(_FILE, isolation_level=None)
_connection.execute("PRAGMA journal_mode = WAL")
_connection.execute("PRAGMA synchronous = FULL")
_connection.execute("PRAGMA wal_autocheckpoint = 4000")
_connection.execute(
    "CREATE TABLE IF NOT EXISTS run (run_id TEXT PRIMARY KEY NOT NULL, task TEXT, queue TEXT, "
    "priority INTEGER, arguments TEXT, options TEXT, created_at INTEGER, "
    "concurrency_limit INTEGER, taken INTEGER NOT NULL DEFAULT 0)"
)
for name, taken in (("waiting", 0), ("taken", 1)):
    _connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON run (run_id) WHERE taken = {taken}")


def enqueue() -> None:
    """Insert one row; SQLite commits it by itself."""
    _connection.execute(_INSERT, (new_id(), *_ROW))


def enqueue_many(count: int) -> None:
    """Insert many rows, a thousand in a transaction."""
    for begin in range(0, count, COMMIT_EVERY):
        _connection.execute("BEGIN IMMEDIATE")
        size = min(COMMIT_EVERY, count - begin)
        _connection.executemany(_INSERT, [(new_id(), *_ROW) for _ in range(size)])
        _connection.execute("COMMIT")


def drain(count: int) -> None:
    """Take rows a hundred at a time; those taken before are deleted in the same transaction."""
    for _ in range(count // CLAIM):
        _connection.execute("BEGIN IMMEDIATE")
        _connection.execute("DELETE FROM run WHERE taken = 1")
        _connection.execute(
            "UPDATE run SET taken = 1 WHERE run_id IN (SELECT run_id FROM run WHERE taken = 0 "
            "ORDER BY run_id LIMIT ?)",
            (CLAIM,),
        )
        _connection.execute("COMMIT")
