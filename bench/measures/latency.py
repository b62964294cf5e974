"""Start latency: from the call of `enqueue` to the first line of the task, of an idle worker.

The worker lies idle for 10 to 50 ms before each. Peers that are not woken look for work every
5 ms, more often than anybody would let them; what an idle worker costs stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import Figure, percentile
from bench.measures.drain import START_SECONDS, rotated

if TYPE_CHECKING:
    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Ring

WARM_UP = 10


def run(ring: Ring, plan: Plan, contestants: list[Contestant]) -> list[Figure]:
    """Return what each contestant needs to begin, and what it costs to be ready."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for number in range(plan.rounds):
        for one in rotated(contestants, number):
            waits, idle = one_round(ring, plan, one)
            for measure, unit, value in (
                ("start latency, p50", "ms", percentile(waits, 0.50)),
                ("start latency, p99", "ms", percentile(waits, 0.99)),
                ("idle worker", "% of a core", 100 * idle),
            ):
                found.setdefault((measure, one.key, unit), []).append(value)
    return [
        Figure(measure, key, unit, tuple(values))
        for (measure, key, unit), values in sorted(found.items(), key=_measure)
    ]


def _measure(item: tuple[tuple[str, str, str], list[float]]) -> str:
    """Order by measure; within it, all stay in their order."""
    return item[0][0]


def one_round(ring: Ring, plan: Plan, one: Contestant) -> tuple[list[float], float]:
    """Return the milliseconds of all starts, and the share of a core of the idle worker."""
    store = ring.named(one, "latency")
    with ring.client(one, store) as preparing:
        preparing.ask("single", 1)  # the worker finds the store made
    with ring.worker(one, store) as worker:
        worker.wait_count(1, within=START_SECONDS)
        with ring.client(one, store, worker.witness.path) as client:
            client.ask("latency", WARM_UP)
            waits = client.ask("latency", plan.latencies)
            return waits, worker.idle_share(plan.idle_seconds)
