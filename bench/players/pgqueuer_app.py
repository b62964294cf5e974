"""PgQueuer: https://github.com/janbjorge/pgqueuer/blob/main/docs/guides/performance-tuning.md.

As that page says: autovacuum set by `autovac`, larger batches for short jobs, asyncpg (twice as
fast as psycopg, says its benchmark), one connection for the worker, uvloop as its command line
takes it. It stays with the durable tables: the faster ones lose jobs when the server crashes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries

from bench.witness import sign

if TYPE_CHECKING:
    from pgqueuer.models import Job

MANY = 1000  # jobs of one call for many

_runner = asyncio.Runner()


async def work(batch_size: int) -> None:
    """Work until asked to stop, as its guide to running it from a program shows."""
    connection = await asyncpg.connect(os.environ["BENCH_URL"])
    worker = PgQueuer.from_asyncpg_connection(connection)

    @worker.entrypoint("noop")
    async def noop(job: Job) -> None:
        """Sign the witness."""
        del job
        sign()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.shutdown.set)
    await worker.run(batch_size=batch_size)
    await connection.close()


class _Open:
    """The connection of a process that enqueues."""

    queries: Queries


def prepare() -> None:
    """Make the tables, unless they are there."""
    _runner.run(_prepare())


async def _prepare() -> None:
    connection = await asyncpg.connect(os.environ["BENCH_URL"])
    _Open.queries = Queries(AsyncpgDriver(connection))
    if not await _Open.queries.has_table("pgqueuer"):
        await _Open.queries.install()
        await _Open.queries.optimize_autovacuum()


def enqueue() -> None:
    """Enqueue one job; it is committed by itself."""
    _runner.run(enqueue_one())


async def enqueue_one() -> None:
    """Enqueue one job in a running loop."""
    await _Open.queries.enqueue("noop", None)


def enqueue_singly(count: int) -> None:
    """Enqueue one by one in one loop, as an asynchronous web process does."""

    async def all_of_them() -> None:
        for _ in range(count):
            await enqueue_one()

    _runner.run(all_of_them())


def enqueue_many(count: int) -> None:
    """Enqueue many with the call for many, a thousand in each."""
    for begin in range(0, count, MANY):
        size = min(MANY, count - begin)
        _runner.run(_Open.queries.enqueue(["noop"] * size, [None] * size, [0] * size))


def left() -> int:
    """Return how many jobs have not ended."""
    return sum(one.count for one in _runner.run(_Open.queries.queue_size()))


if __name__ == "__main__":
    uvloop.run(work(int(sys.argv[1])))
