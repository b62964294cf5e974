"""Holdfast: the app as its documentation shows it."""

from __future__ import annotations

from bench.players import flood
from bench.witness import sign
from holdfast import App

app = App()


@app.task(name="noop")
def noop() -> None:
    """Sign the witness."""
    sign()


@app.task(name="talk")
def talk(count: int) -> float:
    """Print lines and return the seconds that it took."""
    return flood.print_lines(count)


def enqueue() -> None:
    """Enqueue one run."""
    noop.enqueue()


def enqueue_many(count: int) -> None:
    """Enqueue many with the call for many."""
    app.enqueue_many([noop.call() for _ in range(count)])


def left() -> int:
    """Return how many runs have not ended."""
    return sum(q.queued + q.running + q.scheduled for q in app.store.queues.list())
