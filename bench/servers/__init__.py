"""Private servers for one run of the bench: each on a port of its own, in the bench's folder."""

from __future__ import annotations

from bench.servers.postgres import PostgresServer
from bench.servers.rabbitmq import RabbitServer
from bench.servers.redis import RedisServer
from bench.servers.server import Server

SERVERS: dict[str, type[Server]] = {
    "postgresql": PostgresServer,
    "redis": RedisServer,
    "rabbitmq": RabbitServer,
}
