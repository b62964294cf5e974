"""huey on Redis: https://huey.readthedocs.io/en/latest/api.html#RedisHuey.

It waits for work in Redis (`blocking`), as it comes; results are not kept
(https://huey.readthedocs.io/en/latest/guide.html).
"""

from __future__ import annotations

from huey import RedisHuey

from bench.players.brokers import URL
from bench.witness import sign

huey = RedisHuey("bench", url=URL, results=False)

enqueue_many = None  # there is no call for many: `map` sends each by itself


@huey.task()
def noop() -> None:
    """Sign the witness."""
    sign()


def enqueue() -> None:
    """Enqueue one task."""
    noop()


def left() -> int:
    """Return how many tasks wait; huey does not know what it has begun."""
    return huey.pending_count()
