"""Redis with its default settings; a store is one of its numbered databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.servers.server import CopyingServer, program

if TYPE_CHECKING:
    from pathlib import Path

DATABASES = 64
AT_ONCE = 1000  # keys copied in one round trip


class RedisServer(CopyingServer):
    """A server of its own: no append-only file and snapshots now and then, as it comes."""

    name = "Redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._numbers: dict[str, int] = {}  # store -> database
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        options += ["--databases", str(DATABASES)]
        self._run([program("redis-server", "redis-server"), *options])

    @property
    def version(self) -> str:
        """Return the version of the server."""
        return str(self._connect(0).info("server")["redis_version"])

    def make(self, store: str) -> None:
        """Give a store a database."""
        taken = set(self._numbers.values())
        self._numbers[store] = min(set(range(DATABASES)) - taken)

    def copy(self, full: str, store: str) -> None:
        """Copy all keys from one database to another."""
        self.make(store)
        with self._connect(self._numbers[full]) as source:
            keys = list(source.scan_iter(count=AT_ONCE))
            for begin in range(0, len(keys), AT_ONCE):
                copying = source.pipeline(transaction=False)
                for key in keys[begin : begin + AT_ONCE]:
                    copying.execute_command("COPY", key, key, "DB", self._numbers[store])
                copying.execute()

    def drop(self, store: str) -> None:
        """Empty a database and take it back."""
        if store in self._numbers:
            with self._connect(self._numbers.pop(store)) as connection:
                connection.flushdb()

    def environment(self, store: str) -> dict[str, str]:
        """Return the address of a store."""
        number = self._numbers[store]
        return {"BENCH_URL": f"redis://127.0.0.1:{self.port}/{number}"}

    def _connect(self, number: int) -> Any:
        from redis import Redis

        return Redis(port=self.port, db=number)

    def _answers(self) -> bool:
        from redis import RedisError

        try:
            return bool(self._connect(0).ping())
        except RedisError:
            return False
