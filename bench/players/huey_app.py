"""huey on SQLite: https://huey.readthedocs.io/en/latest/api.html#SqliteHuey.

Write-ahead log (its default); `fsync` as the contestant says: without it huey is fastest, with
it a power cut takes nothing that was committed.
"""

from __future__ import annotations

import os

from huey import SqliteHuey

from bench.witness import sign

huey = SqliteHuey(
    filename=f"{os.environ['BENCH_STORE']}/huey.db",
    fsync=os.environ["BENCH_HUEY_FSYNC"] == "yes",
    cache_mb=32,
    timeout=30,
)

enqueue_many = None  # there is no call for many: `map` commits each by itself


@huey.task()
def noop() -> None:
    """Sign the witness."""
    sign()


def enqueue() -> None:
    """Enqueue one task."""
    noop()


def left() -> int:
    """Return how many tasks wait; huey does not know what it has begun."""
    return huey.pending_count()


def multiply(count: int) -> None:
    """Copy the one waiting task to so many in all: nobody wants to wait for a million calls."""
    with huey.storage.db(commit=True) as cursor:
        cursor.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
            "INSERT INTO task (queue, data, priority) SELECT queue, data, priority FROM n, "
            "(SELECT queue, data, priority FROM task LIMIT 1)",
            (count,),
        )
