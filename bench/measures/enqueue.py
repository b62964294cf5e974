"""Enqueue: how many runs a second one process hands over, one by one and many at once.

Nobody works on them meanwhile. The ceiling is the bare database: a row as wide, synced at every
commit.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.figures import Figure
from bench.measures.drain import rotated

if TYPE_CHECKING:
    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Ring


def run(ring: Ring, plan: Plan, contestants: list[Contestant]) -> list[Figure]:
    """Return the rates of all contestants and of the ceiling, who take turns."""
    everybody = [*contestants, ring.course.bare]
    single: dict[str, list[float]] = {one.key: [] for one in everybody}
    bulk: dict[str, list[float]] = {one.key: [] for one in everybody}
    with ExitStack() as stack:
        clients = {
            one.key: stack.enter_context(ring.client(one, ring.named(one, "enqueue")))
            for one in everybody
        }
        for client in clients.values():
            client.ask("single", plan.singles)  # the first calls prepare this and that
        for number in range(plan.rounds):
            for turn in range(plan.turns):
                for one in rotated(everybody, turn):
                    seconds = clients[one.key].ask("single", plan.singles)
                    single[one.key].append(plan.singles / seconds)
            for one in rotated(everybody, number):
                if (seconds := clients[one.key].ask("bulk", plan.bulk)) is not None:
                    bulk[one.key].append(plan.bulk / seconds)
    return [
        Figure(measure, key, "runs/s", tuple(values))
        for measure, of in (("enqueue, one by one", single), ("enqueue, many", bulk))
        for key, values in of.items()
        if values
    ]
