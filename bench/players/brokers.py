"""The Redis or RabbitMQ server of a contestant, and how much is left in it."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

URL = os.environ["BENCH_URL"]
QUEUE = os.environ.get("BENCH_QUEUE", "bench")  # with RabbitMQ, the store is a queue of this name
IS_RABBIT = URL.startswith("amqp")


@cache
def redis() -> Any:
    """Return a connection to Redis."""
    from redis import Redis

    return Redis.from_url(URL)


@cache
def _channel() -> Any:
    import pika

    return pika.BlockingConnection(pika.URLParameters(URL.rstrip("/") + "/%2F")).channel()


def ready_in_rabbit() -> int:
    """Return how many messages wait; RabbitMQ's protocol does not tell what was handed out."""
    return int(_channel().queue_declare(QUEUE, passive=True).method.message_count)
