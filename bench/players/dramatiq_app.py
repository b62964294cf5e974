"""Dramatiq: https://dramatiq.io/guide.html and https://dramatiq.io/advanced.html.

Processes with threads, as its guide says; messages are acknowledged after the work, as they come.
With RabbitMQ it does not wait until the server has confirmed a message, as it comes.
"""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from bench.players.brokers import IS_RABBIT, QUEUE, URL, ready_in_rabbit, redis
from bench.witness import sign

broker: dramatiq.Broker
broker = RabbitmqBroker(url=URL.rstrip("/")) if IS_RABBIT else RedisBroker(url=URL)
dramatiq.set_broker(broker)

enqueue_many = None  # there is no call for many: a group sends each by itself


@dramatiq.actor(queue_name=QUEUE)
def noop() -> None:
    """Sign the witness."""
    sign()


def enqueue() -> None:
    """Enqueue one message."""
    noop.send()


def left() -> int:
    """Return how many messages wait or are not acknowledged; with RabbitMQ, how many wait."""
    if IS_RABBIT:
        return ready_in_rabbit()
    return int(redis().hlen(f"dramatiq:{QUEUE}.msgs"))
