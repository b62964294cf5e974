"""RQ: https://python-rq.org/docs/workers/.

As that page says of many short jobs: the `SimpleWorker`, which does not fork for each job, is
faster; the default worker is tried too. Results are not kept (`result_ttl=0`), the log of every
job is off.
"""

from __future__ import annotations

from rq import Queue

from bench.players.brokers import QUEUE, redis
from bench.witness import sign

MANY = 1000  # jobs of one call for many

_queue = Queue(QUEUE, connection=redis())


def noop() -> None:
    """Sign the witness."""
    sign()


def enqueue() -> None:
    """Enqueue one job."""
    _queue.enqueue(noop, result_ttl=0)


def enqueue_many(count: int) -> None:
    """Enqueue many with the call for many, a thousand in each."""
    one = Queue.prepare_data(noop, result_ttl=0)
    for begin in range(0, count, MANY):
        _queue.enqueue_many([one] * min(MANY, count - begin))


def left() -> int:
    """Return how many jobs wait or are being worked on."""
    return _queue.count + _queue.started_job_registry.count
