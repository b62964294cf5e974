"""Logs: how fast output gets into the store, of a command and of Python's `print`.

Timed from `enqueue` until the last byte is stored and the log says that it is complete. The
ceiling is the same program with a plain file as its output, synced at the end. Peers keep no logs.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.contestants import FILE, HOLDFAST
from bench.figures import Figure
from bench.players import flood
from bench.process import BenchError, clean_environment, python, wait_until
from holdfast import App, Run, RunState
from holdfast.core.models import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Ring

START_SECONDS = 30.0
WITHIN_SECONDS = 300.0  # what one log may take to be written or stored
_MIB = 1 << 20


def run(ring: Ring, plan: Plan, _others: list[Contestant]) -> list[Figure]:
    """Return the rates of Holdfast and of a bare file."""
    found: dict[tuple[str, str, str], list[float]] = {}

    def add(measure: str, key: str, lines: int, seconds: float) -> None:
        mib = lines * flood.LINE / _MIB
        found.setdefault((measure, key, "lines/s"), []).append(lines / seconds)
        found.setdefault((measure, key, "MiB/s"), []).append(mib / seconds)

    written, printed = plan.written_lines, plan.printed_lines
    for _ in range(plan.rounds):
        with logging_app(ring) as app:
            add("log of a command", HOLDFAST.key, written, command(app, written))
            inside, stored = talk(app, printed)
            add("print, in the task", HOLDFAST.key, printed, inside)
            add("print, until stored", HOLDFAST.key, printed, stored)
        add("log of a command", FILE.key, written, bare(ring.folder, "write", written)[1])
        inside, synced = bare(ring.folder, "print", printed)
        add("print, in the task", FILE.key, printed, inside)
        add("print, until stored", FILE.key, printed, synced)
    return [
        Figure(measure, key, unit, tuple(values)) for (measure, key, unit), values in found.items()
    ]


@contextmanager
def logging_app(ring: Ring) -> Iterator[App]:
    """Give an app on a new store with an idle worker."""
    with ring.empty(HOLDFAST) as store:
        app = App(store=f"sqlite:///{store}/holdfast.db")
        app.task(name="talk")(_talk)
        with ring.worker(HOLDFAST, store):
            wait_complete(app, app.find_task("talk").enqueue(1), 1)
            yield app
        app.store.close()


def _talk(count: int) -> Any:
    """Stand for the task of the same name that the worker has."""


def command(app: App, lines: int) -> float:
    """Return the seconds until the output of a command is stored, whole."""
    began = time.perf_counter()
    run = app.run_command(flood_command("write", lines))
    wait_complete(app, run, lines)
    return time.perf_counter() - began


def talk(app: App, lines: int) -> tuple[float, float]:
    """Return the seconds that a task needs to print lines, and those until they are stored."""
    began = time.perf_counter()
    run = app.find_task("talk").enqueue(lines)
    wait_complete(app, run, lines)
    return run.result(1), time.perf_counter() - began


def bare(folder: Path, how: str, lines: int) -> tuple[float, float]:
    """Return the same two with a plain file, synced at the end."""
    path = folder / "bare.log"
    began = time.perf_counter()
    with path.open("wb") as file:
        done = subprocess.run(
            flood_command(how, lines),
            stdout=file,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            check=True,
            timeout=WITHIN_SECONDS,
        )
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    assert path.stat().st_size == lines * flood.LINE, "bytes are missing"
    path.unlink()
    return float(done.stderr or seconds), seconds


def flood_command(how: str, lines: int) -> list[str]:
    """Return the command that writes so many lines."""
    return python(flood.__file__, how, str(lines))


def wait_complete(app: App, run: Run, lines: int) -> None:
    """Wait until the final record says that every byte is stored."""
    lease = Lease(run.id, 1)
    end = wait_until(
        lambda: app.store.logs.end(lease),
        within=WITHIN_SECONDS,
        what="the log is complete",
        pause=0.005,
    )
    if (state := run.wait(START_SECONDS).state) != RunState.SUCCEEDED:
        problem = f"the run that wrote the log has {state}"
        raise BenchError(problem)
    assert (end.size, end.lines) == (lines * flood.LINE, lines), "bytes are missing"
