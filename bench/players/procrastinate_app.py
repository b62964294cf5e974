"""procrastinate: https://procrastinate.readthedocs.io/en/stable/howto/basics/worker.html.

LISTEN/NOTIFY as it comes, and several jobs at once in one worker, as its page on concurrency says
(https://procrastinate.readthedocs.io/en/stable/howto/advanced/concurrency.html); a pool with a
connection for each. Jobs that succeeded stay, as it comes.
"""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector

from bench.witness import sign

MANY = 1000  # jobs of one call for many

app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_URL"], min_size=2, max_size=12))


@app.task(name="noop")
async def noop() -> None:
    """Sign the witness."""
    sign()


def prepare() -> None:
    """Make the tables, unless they are there."""
    app.open()
    if _ask("SELECT to_regclass('procrastinate_jobs') IS NULL AS found"):
        app.schema_manager.apply_schema()


def _ask(query: str) -> int:
    return int(app.connector.get_sync_connector().execute_query_one(query)["found"])


def enqueue() -> None:
    """Enqueue one job; it is committed by itself."""
    noop.defer()


def enqueue_many(count: int) -> None:
    """Enqueue many with the call for many, a thousand in each."""
    for begin in range(0, count, MANY):
        noop.batch_defer(*[{}] * min(MANY, count - begin))


def left() -> int:
    """Return how many jobs have not ended."""
    return _ask(
        "SELECT count(*) AS found FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    )
