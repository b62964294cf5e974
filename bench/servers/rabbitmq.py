"""RabbitMQ with its default settings; a store is a queue with a name of its own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bench.process import Program, clean_environment
from bench.servers.server import Server, free_port, give, program

if TYPE_CHECKING:
    from pathlib import Path

USER = "rabbitmq"  # it keeps a cookie in the home of its user: ours is in our folder
FOLDER = "/usr/lib/rabbitmq/bin"
PARTS = ("", ".DQ", ".XQ")  # dramatiq keeps the delayed and the dead apart


class RabbitServer(Server):
    """A node of its own, with a port mapper of its own, that no other node can find."""

    name = "RabbitMQ"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        give(folder, USER)
        self._mapper_port = free_port()
        environment = self._environment()
        self._mapper = Program(
            [program("epmd", "rabbitmq-server"), "-port", str(self._mapper_port)],
            environment=environment,
            words=folder / "mapper",
        )
        self._run(
            [program("rabbitmq-server", "rabbitmq-server", FOLDER)],
            environment=environment,
            user=USER,
        )

    def _environment(self) -> dict[str, str]:
        return clean_environment(
            HOME=str(self.folder),
            ERL_EPMD_PORT=str(self._mapper_port),
            RABBITMQ_NODENAME=f"bench{self.port}@localhost",
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(self.port),
            RABBITMQ_DIST_PORT=str(free_port()),
            RABBITMQ_MNESIA_BASE=str(self.folder / "data"),
            RABBITMQ_LOG_BASE=str(self.folder / "log"),
            RABBITMQ_LOGS="-",
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.folder / "plugins"),
            RABBITMQ_CONFIG_FILE=str(self.folder / "settings"),
            RABBITMQ_CONF_ENV_FILE=str(self.folder / "no-settings"),
            RABBITMQ_PID_FILE=str(self.folder / "pid"),
        )

    @property
    def version(self) -> str:
        """Return the version of the server."""
        connection = self._connect()
        found = connection._impl.server_properties["version"]  # noqa: SLF001 - no other way
        connection.close()
        return found.decode() if isinstance(found, bytes) else str(found)

    def make(self, store: str) -> None:
        """Do nothing: whoever names a queue first makes it."""

    def drop(self, store: str) -> None:
        """Delete the queues of a store."""
        with suppress(Exception):
            connection = self._connect()
            channel = connection.channel()
            for part in PARTS:
                channel.queue_delete(store + part)
            connection.close()

    def environment(self, store: str) -> dict[str, str]:
        """Return the address of the server and the name of the queue."""
        return {
            "BENCH_URL": f"amqp://guest:guest@127.0.0.1:{self.port}//",
            "BENCH_QUEUE": store,
        }

    def stop(self) -> None:
        """Stop the node, then its port mapper."""
        super().stop()
        self._mapper.end()

    def _connect(self) -> Any:
        import pika

        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))

    def _answers(self) -> bool:
        import pika

        try:
            self._connect().close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True
