"""Compare table layouts for runs on SQLite: `python bench/layout.py [--runs N] [--bytes N]`.

Each layout takes in N runs, 1000 in a transaction, and drains them as a worker does: claim 100,
finish 100. WAL and synchronous=FULL, as in the store. What counts is CPU time per run, the least
of several rounds, so that a slow disk or a busy neighbour changes little.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = list[tuple[Any, ...]]
INTAKE, BATCH = 1000, 100
WORKER = str(uuid.uuid4())
OPTIONS = json.dumps({"retries": 3, "timeout": 60})
NOW = 1_800_000_000_000_000

# Columns that every layout has somewhere.
WAITING = """task TEXT, queue TEXT, priority INTEGER, state TEXT, due_at INTEGER,
    blocked INTEGER DEFAULT 0, attempt INTEGER DEFAULT 0, failures INTEGER DEFAULT 0,
    crashes INTEGER DEFAULT 0, worker_id TEXT, claimed_at INTEGER, concurrency_key TEXT"""
PAYLOAD = "arguments TEXT, options TEXT, created_at INTEGER"
ENDING = "finished_at INTEGER, result TEXT, error TEXT"
HISTORY = f"""task TEXT, queue TEXT, priority INTEGER, {PAYLOAD}, state TEXT, attempt INTEGER,
    failures INTEGER, crashes INTEGER, {ENDING}"""
ENDED = """state TEXT, failures INTEGER, crashes INTEGER, result TEXT, error TEXT,
    attempt INTEGER, outcome TEXT, worker_id TEXT, started_at INTEGER, finished_at INTEGER,
    cpu_ms INTEGER, peak_rss INTEGER, logged INTEGER, certificate TEXT"""
ATTEMPT = "INSERT INTO attempt VALUES (?1, 1, 'succeeded', ?3, ?2, ?2, 1, 1, 0, NULL)"


@dataclass(frozen=True)
class Layout:
    """Hold the statements of one layout; `{id}` stands for the type of ids.

    `enqueue` statements take (id, task, queue, priority, arguments, options, now), `end`
    statements (id, now, worker).
    """

    name: str
    tables: tuple[str, ...]
    waiting: str  # the table that claims look at
    enqueue: tuple[str, ...]
    candidates: str
    end: tuple[str, ...]


def wide() -> Layout:
    """Return the layout with one table for everything."""
    return Layout(
        "one wide table",
        (f"CREATE TABLE run (run_id {{id}} PRIMARY KEY, {WAITING}, {PAYLOAD}, {ENDING})",),
        "run",
        (
            """INSERT INTO run (run_id, task, queue, priority, state, due_at, arguments, options,
               created_at) VALUES (?1, ?2, ?3, ?4, 'queued', ?7, ?5, ?6, ?7)""",
        ),
        """SELECT run_id, arguments, options, task FROM run
           WHERE state = 'queued' AND blocked = 0 AND queue = 'default'
           ORDER BY priority DESC, run_id LIMIT 100""",
        (
            """UPDATE run SET state = 'succeeded', result = 'null', finished_at = ?2,
               worker_id = NULL WHERE run_id = ?1 AND attempt = 1 AND state = 'running'""",
            ATTEMPT,
        ),
    )


def live_and_run(ending: str = "") -> Layout:
    """Return the layout with a narrow table of waiting runs beside a wide one of all runs."""
    return Layout(
        f"narrow live + wide run{ending.lower()}",
        (
            f"CREATE TABLE run (run_id {{id}} PRIMARY KEY, {HISTORY}){ending}",
            f"CREATE TABLE live (run_id {{id}} PRIMARY KEY, {WAITING}) WITHOUT ROWID",
        ),
        "live",
        (
            """INSERT INTO run (run_id, task, queue, priority, arguments, options, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)""",
            """INSERT INTO live (run_id, task, queue, priority, state, due_at)
               VALUES (?1, ?2, ?3, ?4, 'queued', ?7)""",
        ),
        """SELECT l.run_id, r.arguments, r.options, l.task
           FROM live l JOIN run r ON r.run_id = l.run_id
           WHERE l.state = 'queued' AND l.blocked = 0 AND l.queue = 'default'
           ORDER BY l.priority DESC, l.run_id LIMIT 100""",
        (
            "DELETE FROM live WHERE run_id = ?1 AND attempt = 1 AND state = 'running'",
            """UPDATE run SET state = 'succeeded', result = 'null', finished_at = ?2, attempt = 1,
               failures = 0, crashes = 0 WHERE run_id = ?1""",
            ATTEMPT,
        ),
    )


def ended_apart() -> Layout:
    """Return the layout whose runs are written once, and end with one row elsewhere."""
    apart = live_and_run()
    return Layout(
        "narrow live + run + ended",
        (
            *apart.tables,
            f"CREATE TABLE ended (run_id {{id}} PRIMARY KEY, {ENDED}) WITHOUT ROWID",
        ),
        "live",
        apart.enqueue,
        apart.candidates,
        (
            apart.end[0],
            """INSERT INTO ended VALUES (?1, 'succeeded', 0, 0, 'null', NULL, 1, 'succeeded', ?3,
               ?2, ?2, 1, 1, 0, NULL)""",
        ),
    )


def moved_at_the_end() -> Layout:
    """Return the layout that keeps all of a run in one table and moves it to another at the end."""
    return Layout(
        "all in live, moved to history",
        (
            f"CREATE TABLE live (run_id {{id}} PRIMARY KEY, {WAITING}, {PAYLOAD})",
            f"CREATE TABLE run (run_id {{id}} PRIMARY KEY, {HISTORY})",
        ),
        "live",
        (
            """INSERT INTO live (run_id, task, queue, priority, state, due_at, arguments, options,
               created_at) VALUES (?1, ?2, ?3, ?4, 'queued', ?7, ?5, ?6, ?7)""",
        ),
        """SELECT run_id, arguments, options, task FROM live
           WHERE state = 'queued' AND blocked = 0 AND queue = 'default'
           ORDER BY priority DESC, run_id LIMIT 100""",
        (
            """INSERT INTO run SELECT run_id, task, queue, priority, arguments, options, created_at,
               'succeeded', attempt, failures, crashes, ?2, 'null', NULL FROM live
               WHERE run_id = ?1 AND attempt = 1 AND state = 'running'""",
            "DELETE FROM live WHERE run_id = ?1 AND attempt = 1 AND state = 'running'",
            ATTEMPT,
        ),
    )


LAYOUTS = (
    wide(),
    live_and_run(),
    live_and_run(" WITHOUT ROWID"),
    ended_apart(),
    moved_at_the_end(),
)
SHARED = (
    """CREATE INDEX claim_idx ON {waiting} (queue, priority DESC, run_id)
       WHERE state = 'queued' AND blocked = 0""",
    "CREATE INDEX worker_idx ON {waiting} (worker_id) WHERE state = 'running'",
    """CREATE TABLE attempt (run_id {id}, attempt INTEGER, outcome TEXT, worker_id TEXT,
       started_at INTEGER, finished_at INTEGER, cpu_ms INTEGER, peak_rss INTEGER, logged INTEGER,
       certificate TEXT, PRIMARY KEY (run_id, attempt)) WITHOUT ROWID""",
)
CLAIM = """UPDATE {waiting} SET state = 'running', attempt = attempt + 1, worker_id = ?2,
           claimed_at = ?3 WHERE run_id = ?1 AND state = 'queued'"""


def connect(path: Path) -> sqlite3.Connection:
    """Open a new database with the settings of the store."""
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def build(connection: sqlite3.Connection, layout: Layout, id_type: str) -> None:
    """Make the tables of a layout."""
    for statement in (*layout.tables, *SHARED):
        connection.execute(statement.format(id=id_type, waiting=layout.waiting))


def new_ids(count: int, id_type: str) -> list[Any]:
    """Return ids in the order of time, as UUIDv7 are: twenty in a millisecond."""
    ids = []
    for number in range(count):
        milliseconds, fraction = divmod(number, 20)
        head = f"{1_800_000_000_000 + milliseconds:012x}7{fraction * 200:03x}"
        made = uuid.UUID(f"{head}8{os.urandom(8).hex()[1:]}")
        ids.append(str(made) if id_type == "TEXT" else made.bytes)
    return ids


def parts(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield consecutive parts."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def enqueue(connection: sqlite3.Connection, layout: Layout, ids: list[Any], text: str) -> None:
    """Take in all runs."""
    for part in parts(ids, INTAKE):
        rows = [(i, "shop.send", "default", 0, text, OPTIONS, NOW) for i in part]
        connection.execute("BEGIN IMMEDIATE")
        for statement in layout.enqueue:
            connection.executemany(statement, rows)
        connection.execute("COMMIT")


def drain(connection: sqlite3.Connection, layout: Layout) -> int:
    """Claim and finish until nothing waits; return how many runs that were."""
    claim, drained = CLAIM.format(waiting=layout.waiting), 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute(layout.candidates).fetchall()
        connection.executemany(claim, [(row[0], WORKER, NOW) for row in found])
        connection.execute("COMMIT")
        if not found:
            return drained
        connection.execute("BEGIN IMMEDIATE")
        for statement in layout.end:
            taken = 1 + ("?2" in statement) + ("?3" in statement)
            values = [(row[0], NOW, WORKER)[:taken] for row in found]
            connection.executemany(statement, values)
        connection.execute("COMMIT")
        drained += len(found)


def measure(work: Callable[[], object]) -> float:
    """Return the CPU seconds that some work takes in this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def one_round(layout: Layout, id_type: str, runs: int, text: str) -> tuple[float, float]:
    """Return the CPU seconds of taking in and of draining."""
    ids = new_ids(runs, id_type)
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(Path(folder, "bench.db"))
        build(connection, layout, id_type)
        intake = measure(lambda: enqueue(connection, layout, ids, text))
        drained: list[int] = []
        seconds = measure(lambda: drained.append(drain(connection, layout)))
        connection.close()
    assert drained == [runs], "every run is claimed once and finished"
    return intake, seconds


def main() -> None:
    """Measure all layouts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40_000, help="how many runs")
    parser.add_argument("--bytes", type=int, default=60, help="how long the arguments are")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the least counts")
    wanted = parser.parse_args()
    text = json.dumps({"args": ["x" * max(0, wanted.bytes - 26)], "kwargs": {}})
    print(f"SQLite {sqlite3.sqlite_version}, {wanted.runs:,} runs, {len(text)} bytes of arguments")
    print(f"{'CPU time per run, µs':40} {'ids':5} {'enqueue':>8} {'drain':>8}")
    for layout in LAYOUTS:
        for id_type in ("TEXT", "BLOB"):
            rounds = [one_round(layout, id_type, wanted.runs, text) for _ in range(wanted.rounds)]
            enqueued, drained = (
                1e6 * min(column) / wanted.runs for column in zip(*rounds, strict=True)
            )
            print(f"{layout.name:40} {id_type:5} {enqueued:8.1f} {drained:8.1f}", flush=True)


if __name__ == "__main__":
    main()
