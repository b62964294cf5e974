"""chancy: https://tkte.ch/chancy/chancy.queue.html, chancy.worker.html, chancy.executors.html.

As those pages say for many short jobs: the asynchronous executor, many at once, `eager_polling`
(look again when a job is done, not every few seconds), LISTEN/NOTIFY as it comes. Outcomes are
written once a second, as it comes. Its log of every job is off.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from chancy import Chancy, Queue, Worker, job

from bench.witness import sign

MANY = 1000  # jobs of one call for many

app = Chancy(os.environ["BENCH_URL"], log=logging.getLogger("bench"))


@job(queue="default")
async def noop() -> None:
    """Sign the witness."""
    sign()


def prepare() -> None:
    """Make the tables, unless they are there."""
    asyncio.run(_prepare())
    app.sync_pool.open()


async def _prepare() -> None:
    async with app:
        await app.migrate()


def enqueue() -> None:
    """Enqueue one job; it is committed by itself."""
    app.sync_push(noop.job)


def enqueue_many(count: int) -> None:
    """Enqueue many with the call for many, which commits a thousand at a time."""
    for _ in app.sync_push_many([noop.job] * count, batch_size=MANY):
        pass


def left() -> int:
    """Return how many jobs have not ended."""
    with app.sync_pool.connection() as connection:
        query = "SELECT count(*) FROM chancy_jobs WHERE completed_at IS NULL"
        return int(connection.execute(query).fetchone()[0])


async def work(concurrency: int) -> None:
    """Work until asked to stop."""
    executor = Chancy.Executor.Async
    async with app:
        queue = Queue("default", concurrency=concurrency, executor=executor, eager_polling=True)
        await app.declare(queue, upsert=True)
        async with Worker(app) as worker:  # it minds SIGTERM itself
            await worker.wait_for_shutdown()


if __name__ == "__main__":
    asyncio.run(work(int(sys.argv[1])))
