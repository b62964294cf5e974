"""The ceiling: PostgreSQL alone, a row as wide as one of Holdfast's, synced at every commit."""

from __future__ import annotations

import os
import tempfile

import psycopg

from holdfast import App, new_id

COMMIT_EVERY = 1000  # rows
CLAIM = 100  # rows that are taken at once

SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
    run_id TEXT COLLATE "C" PRIMARY KEY NOT NULL, task TEXT NOT NULL, queue TEXT NOT NULL,
    priority INTEGER NOT NULL, arguments TEXT NOT NULL, options TEXT NOT NULL,
    created_at BIGINT NOT NULL, concurrency_limit INTEGER NOT NULL)"""
INSERT = "INSERT INTO run VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
TAKE = "SELECT run_id FROM run WHERE run_id > %s ORDER BY run_id LIMIT %s FOR UPDATE SKIP LOCKED"
DELETE = "DELETE FROM run WHERE run_id = ANY(%s)"


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
_connection = psycopg.connect(os.environ["BENCH_URL"], autocommit=True)
_connection.execute(SCHEMA)


def enqueue() -> None:
    """Insert one row; PostgreSQL commits it by itself."""
    _connection.execute(INSERT, (new_id(), *_ROW))


def enqueue_many(count: int) -> None:
    """Insert many rows by COPY, a thousand in a transaction."""
    for begin in range(0, count, COMMIT_EVERY):
        with _connection.cursor() as cursor, cursor.copy("COPY run FROM STDIN") as copy:
            for _ in range(min(COMMIT_EVERY, count - begin)):
                copy.write_row((new_id(), *_ROW))


def drain(count: int) -> None:
    """Take rows a hundred at a time; those taken before are deleted in the same transaction."""
    taken: list[str] = []
    for _ in range(count // CLAIM):
        with _connection.transaction(), _connection.pipeline():
            _connection.execute(DELETE, (taken,))
            last = taken[-1] if taken else ""
            found = _connection.execute(TAKE, (last, CLAIM))
            taken = [row[0] for row in found]
