"""taskiq on Redis: https://taskiq-python.github.io/available-components/brokers.html#redis.

The stream broker, the only one on Redis that acknowledges; worker processes as
https://taskiq-python.github.io/guide/cli.html says. Acknowledged when the result is saved, as it
comes; there is no result back end.
"""

from __future__ import annotations

import asyncio

from taskiq_redis import RedisStreamBroker

from bench.players.brokers import QUEUE, URL, redis
from bench.witness import sign

broker = RedisStreamBroker(url=URL, queue_name=QUEUE, consumer_id="0")
enqueue_many = None  # there is no call for many

_runner = asyncio.Runner()


@broker.task(task_name="noop")
async def noop() -> None:
    """Sign the witness."""
    sign()


def prepare() -> None:
    """Make the stream and its group."""
    _runner.run(broker.startup())


def enqueue() -> None:
    """Enqueue one task."""
    _runner.run(enqueue_one())


async def enqueue_one() -> None:
    """Enqueue one task in a running loop."""
    await noop.kiq()


def enqueue_singly(count: int) -> None:
    """Enqueue one by one in one loop, as an asynchronous web process does."""

    async def all_of_them() -> None:
        for _ in range(count):
            await enqueue_one()

    _runner.run(all_of_them())


def left() -> int:
    """Return how many tasks were not handed out or not acknowledged."""
    (group,) = redis().xinfo_groups(QUEUE)
    return int(group["lag"] or 0) + int(group["pending"])
