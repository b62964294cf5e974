"""What is to be reached, on each store, and whether it is."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.contestants import BARE, DJANGO, HUEY, HUEY_SYNCED
from bench.measures.growth import SHARE

if TYPE_CHECKING:
    from bench.contestants import Contestant
    from bench.results import Results


@dataclass(frozen=True)
class Goal:
    """A bound that a ratio or a figure is to keep."""

    what: str
    value: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Tell whether the bound is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def embedded(results: Results) -> list[Goal]:
    """Return those goals on SQLite for which all was measured."""
    found = [
        _ratio(results, "drain, times that of huey, nothing synced", HUEY, 1.5),
        _ratio(results, "drain, times that of huey, synced as ours", HUEY_SYNCED, 1.5),
        _ratio(results, "drain, times that of django-tasks-db", DJANGO, 20),
        _plain(results, SHARE, 0.8, at_least=True),
        _dearer(results, 1.3),
        _plain(results, "start latency, p50", 5),
        _plain(results, "start latency, p99", 20),
        _plain(results, "store: last tenth to first", 1.2),
        _plain(results, "read: last tenth to first", 1.2),
        _plain(results, "peak memory, main process", 100),
    ]
    return [goal for goal in found if goal is not None]


def served(results: Results) -> list[Goal]:
    """Return those goals on PostgreSQL for which all was measured."""
    bounds = {"pgqueuer": (1, 2), "celery-redis": (5,), "celery-rabbitmq": (5,)}
    found = [
        _ratio(results, f"drain, times that of {peer.title}", peer, bound)
        for peer in results.course.peers
        if peer.acks_after_work
        for bound in bounds.get(peer.key, (1,))
    ]
    found += [
        _plain(results, SHARE, 0.8, at_least=True),
        _plain(results, "enqueue, many", 50_000, at_least=True),
        _dearer(results, 1.3),
        _plain(results, "start latency, p50", 3),
        _plain(results, "start latency, p99", 15),
    ]
    return [goal for goal in found if goal is not None]


def _plain(results: Results, measure: str, bound: float, *, at_least: bool = False) -> Goal | None:
    figure = results.get(measure)
    if figure is None:
        return None
    unit = "" if figure.unit == "ratio" else f", {figure.unit}"
    return Goal(measure + unit, figure.median, bound, at_least)


def _ratio(results: Results, what: str, other: Contestant, bound: float) -> Goal | None:
    """Compare turn by turn: what slows down the machine slows down both."""
    pairs = _pairs(results, "drain", other)
    value = median(our / their for our, their in pairs) if pairs else 0.0
    return Goal(what, value, bound, at_least=True) if pairs else None


def _dearer(results: Results, bound: float) -> Goal | None:
    pairs = _pairs(results, "enqueue, one by one", BARE)
    if not pairs:
        return None
    value = median(their / our for our, their in pairs)
    return Goal("one enqueue, times a bare INSERT and COMMIT", value, bound, at_least=False)


def _pairs(results: Results, measure: str, other: Contestant) -> list[tuple[float, float]]:
    ours, theirs = results.get(measure), results.get(measure, other.key)
    if ours is None or theirs is None:
        return []
    return list(zip(ours.values, theirs.values, strict=True))
