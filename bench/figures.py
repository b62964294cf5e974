"""Measure the main job on the embedded store: drain, enqueue, start latency, log bytes.

``python bench/figures.py [--runs N] [--json]``. Every figure stands beside a bare ceiling that is
measured in the same run with the same durability; compare the ratios, not the absolute numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import App, Run, RunState, Task, new_id
from holdfast.core.models import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS = """
from holdfast import App
app = App()
@app.task(name="noop")
def noop(): pass
"""
LATENCY_RUNS = 300
SINGLES = 2000
LOG_MIB = 256
PAIRS = 5
START_SECONDS = 30.0


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="no-op runs to drain")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), options.runs)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for what, figure in figures.items():
        print(f"{what:<52} {figure:>12,.2f}")


def measure(folder: Path, runs: int) -> dict[str, float]:
    """Return every figure by name."""
    (folder / "noops.py").write_text(TASKS)
    app = App(store=f"sqlite:///{folder}/store/holdfast.db")
    noop = app.task(name="noop")(_noop)
    figures = enqueue(app, folder)
    figures["bulk enqueue, runs/s"] = rate(
        lambda: app.enqueue_many([noop.call() for _ in range(runs)]), runs
    )
    waiting = runs + SINGLES * PAIRS
    with worker(folder):
        figures["drain of no-op runs, isolated executors, runs/s"] = drain(app, waiting)
        figures |= latency(noop)
        figures |= log(app)
    return figures


def _noop() -> None:
    """Do nothing: the worker has the task that counts."""


def enqueue(app: App, folder: Path) -> dict[str, float]:
    """Compare single enqueues with a bare INSERT and COMMIT, taking turns."""
    noop = app.find_task("noop")
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE run (run_id TEXT PRIMARY KEY, task TEXT, arguments TEXT)")

    def insert() -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("INSERT INTO run VALUES (?, ?, ?)", (new_id(), "noop", "[]"))
        bare.execute("COMMIT")

    ours, theirs = [], []
    for _ in range(PAIRS):
        theirs.append(rate(lambda: [insert() for _ in range(SINGLES)], SINGLES))
        ours.append(rate(lambda: [noop.enqueue() for _ in range(SINGLES)], SINGLES))
    bare.close()
    ratios = [b / o for b, o in zip(theirs, ours, strict=True)]
    return {
        "single enqueue, runs/s": statistics.median(ours),
        "bare INSERT+COMMIT, rows/s": statistics.median(theirs),
        "one enqueue costs so many bare INSERT+COMMIT": statistics.median(ratios),
    }


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    """Run a worker as its users do, without the story of every run on its log."""
    store = f"sqlite:///{folder}/store/holdfast.db"
    command = ["-m", "holdfast", "--app", "noops:app", "worker", "--log-level", "warning"]
    environment = {**os.environ, "HOLDFAST_STORE": store}
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def drain(app: App, waiting: int) -> float:
    """Return runs per second from the first outcome to the last."""

    def left() -> int:
        return sum(q.queued + q.running + q.scheduled for q in app.store.queues.list())

    deadline = time.monotonic() + START_SECONDS
    while (at_start := left()) == waiting:
        assert time.monotonic() < deadline, "the worker does not start"
        time.sleep(0.001)
    began = time.perf_counter()
    while left():
        time.sleep(0.01)
    return at_start / (time.perf_counter() - began)


def latency(noop: Task) -> dict[str, float]:
    """Return how long after the commit an idle worker has begun, in milliseconds."""
    waits = []
    for _ in range(LATENCY_RUNS):
        time.sleep(0.01)  # let the worker fall idle
        run = noop.enqueue()
        committed = time.time()
        run.wait(10)
        waits.append(run.attempts[0].started_at / 1000 - committed * 1000)
    waits.sort()
    return {
        "start latency of an idle worker, p50 ms": waits[LATENCY_RUNS // 2],
        "start latency of an idle worker, p99 ms": waits[LATENCY_RUNS * 99 // 100],
    }


def log(app: App) -> dict[str, float]:
    """Return how fast a flood of output gets into the store, whole, beside a bare copy."""
    lines = f"yes 0123456789012345678901234567890123456789 | head -c {LOG_MIB << 20}"
    began = time.perf_counter()
    run = app.run_command(["sh", "-c", lines])
    assert run.wait(600).state == RunState.SUCCEEDED
    wait_for_log(app, run)
    ours = LOG_MIB / (time.perf_counter() - began)
    with tempfile.TemporaryFile() as file:
        began = time.perf_counter()
        subprocess.run(["sh", "-c", lines], stdout=file, check=True)
        bare = LOG_MIB / (time.perf_counter() - began)
    return {"log of a command into the store, MiB/s": ours, "the same into a file, MiB/s": bare}


def wait_for_log(app: App, run: Run) -> None:
    """Wait until the final record says that every byte is stored."""
    lease = Lease(run.id, run.attempts[-1].attempt)
    while (end := app.store.logs.end(lease)) is None:
        time.sleep(0.005)
    assert end.size == LOG_MIB << 20, "bytes are missing"


def rate(work: Callable[[], object], count: int) -> float:
    """Return how many per second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
