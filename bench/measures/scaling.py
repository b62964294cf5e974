"""Scaling: the same drain by Holdfast with more executors, and with two workers.

The processor time that a run costs stands beside each rate, of the workers and of the server.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.contestants import HOLDFAST
from bench.figures import Figure
from bench.measures.drain import Steady, rotated, steady_part

if TYPE_CHECKING:
    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Ring

CREWS = {  # workers, executors of each
    "1 executor": (1, 1),
    "2 executors": (1, 2),
    "4 executors": (1, 4),
    "2 workers, 1 executor each": (2, 1),
    "2 workers, 2 executors each": (2, 2),
}


def run(ring: Ring, plan: Plan, _others: list[Contestant]) -> list[Figure]:
    """Return the rates of all crews, who take turns, and what a run costs them."""
    found: dict[str, list[Steady]] = {crew: [] for crew in CREWS}
    crews = {crew: _crew(ring.course.ours, *numbers) for crew, numbers in CREWS.items()}
    for number in range(plan.rounds):
        for crew in rotated([*CREWS], number):
            one = crews[crew]
            with ring.full(ring.course.ours, plan.runs) as store, ring.worker(one, store) as worker:
                found[crew].append(steady_part(worker, plan.runs, plan))
    return [
        Figure(f"{crew}{of}", HOLDFAST.key, unit, tuple(getattr(one, name) for one in parts))
        for name, of, unit in (
            ("rate", "", "runs/s"),
            ("worker_us", ", CPU of the workers", "µs"),
            ("server_us", ", CPU of the server", "µs"),
        )
        for crew, parts in found.items()
    ]


def _crew(ours: Contestant, workers: int, executors: int) -> Contestant:
    """Return Holdfast with so many workers and executors."""
    (argv,) = next(iter(ours.setups.values()))
    setup = [[*argv, "--executors", str(executors)]] * workers
    return replace(ours, key=f"{ours.key}-{workers}-{executors}", setups={"": setup})
