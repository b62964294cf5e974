"""Bloat: what a long drain leaves behind in the tables of Holdfast.

The long queue of the growth is drained to its end. Dead rows are those that PostgreSQL counts the
moment the last run has ended; sizes are those of tables with their indexes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import Figure
from bench.measures.growth import LONG
from bench.process import wait_until
from bench.servers.postgres import PostgresServer

if TYPE_CHECKING:
    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Ring

WITHIN_SECONDS = 900.0
TABLES = ("live", "run", "ended")
RUNS = "runs drained to the end"
STATISTICS = """
SELECT relname, n_dead_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables
WHERE relname IN ('live', 'run', 'ended')"""


def run(ring: Ring, plan: Plan, _others: list[Contestant]) -> list[Figure]:
    """Return how many rows are dead, and how large the tables are, before and after."""
    ours = ring.course.ours
    server = ring.server_of(ours)
    assert isinstance(server, PostgresServer), LONG
    store = ring.filled(ours, plan.many)
    with ring.client(ours, store) as client:
        runs = client.ask("left")
        before = _statistics(server, store.name)
        with ring.worker(ours, store):
            wait_until(
                lambda: client.ask("left") == 0,
                within=WITHIN_SECONDS,
                what=f"{runs} runs have ended",
                pause=0.2,
            )
            after = _statistics(server, store.name)
    found = {(RUNS, "runs"): float(runs)}
    for table in TABLES:
        found[f"dead rows of {table}", "rows"] = after[table][0]
    for when, sizes in (("before", before), ("after", after)):
        for table in TABLES:
            found[f"size of {table}, {when}", "MB"] = sizes[table][1] / 1e6
    return [Figure(measure, ours.key, unit, (value,)) for (measure, unit), value in found.items()]


def _statistics(server: PostgresServer, store: str) -> dict[str, tuple[float, float]]:
    """Return the dead rows and the bytes of each table."""
    return {name: (dead, size) for name, dead, size in server.ask(STATISTICS, store)}
