"""Celery: https://docs.celeryq.dev/en/stable/userguide/optimizing.html.

As that page says: acknowledged late so that no task is lost with its worker, a higher prefetch
multiplier for many short tasks, results ignored
(https://docs.celeryq.dev/en/stable/userguide/tasks.html#ignore-results-you-don-t-want). The pool
is prefork, its default. `librabbitmq`, which the page recommends, cannot be installed any more.
"""

from __future__ import annotations

from celery import Celery

from bench.players.brokers import IS_RABBIT, QUEUE, URL, ready_in_rabbit, redis
from bench.witness import sign

app = Celery("bench", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    worker_send_task_events=False,
)

enqueue_many = None  # there is no call for many: a group publishes each by itself


@app.task(name="noop")
def noop() -> None:
    """Sign the witness."""
    sign()


def enqueue() -> None:
    """Enqueue one task."""
    noop.delay()


def left() -> int:
    """Return how many tasks wait or are not acknowledged; with RabbitMQ, how many wait."""
    if IS_RABBIT:
        return ready_in_rabbit()
    return int(redis().llen(QUEUE)) + int(redis().hlen("unacked"))
