"""Growth: how the rate of the drain bears a long queue.

One store has 20,000 runs queued, the other 1,000,000; the same steady part of the first 20,000 is
measured in both, in turns. The long queue is filled once and shrinks a little from round to round.
Peers have no quick way to enqueue a million: theirs are copies of one row, made by SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import Figure
from bench.measures.drain import choose_setups, rotated, steady_rate

if TYPE_CHECKING:
    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Ring

SHORT, LONG = "drain, short queue", "drain, long queue"
SHARE = "growth: long queue to short"


def run(ring: Ring, plan: Plan, contestants: list[Contestant]) -> list[Figure]:
    """Return the rates with the short and the long queue, and how they relate."""
    contestants = [one for one in contestants if one.grows]
    choose_setups(ring, plan, contestants)
    short: dict[str, list[float]] = {one.key: [] for one in contestants}
    long: dict[str, list[float]] = {one.key: [] for one in contestants}
    for number in range(plan.rounds):
        for one in rotated(contestants, number):
            with ring.full(one, plan.runs) as store, ring.worker(one, store) as worker:
                short[one.key].append(steady_rate(worker, plan.runs, plan))
            store = ring.filled(one, plan.many)
            with ring.worker(one, store) as worker:
                long[one.key].append(steady_rate(worker, plan.runs, plan))
    shares = {
        key: [many / few for few, many in zip(short[key], long[key], strict=True)] for key in short
    }
    return [
        Figure(measure, key, unit, tuple(values))
        for measure, unit, of in (
            (SHORT, "runs/s", short),
            (LONG, "runs/s", long),
            (SHARE, "ratio", shares),
        )
        for key, values in of.items()
    ]
