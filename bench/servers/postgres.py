"""PostgreSQL with its default settings, so every commit is synced; a store is a database."""

from __future__ import annotations

import subprocess
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from bench.servers.server import CopyingServer, as_user, give, program

if TYPE_CHECKING:
    from pathlib import Path

USER = "postgres"  # the server refuses to run as root
OWNER = "bench"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "logging_collector": "off",
}
FOLDER = "/usr/lib/postgresql/*/bin"  # Debian keeps it out of the PATH


class PostgresServer(CopyingServer):
    """A server of its own, with `fsync` and `synchronous_commit` on as they come."""

    name = "PostgreSQL"
    stop_signal = SIGINT  # end all connections

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        give(folder, USER)
        data = str(folder / "data")
        making = ["-D", data, "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(
            [program("initdb", "postgresql", FOLDER), *making],
            check=True,
            capture_output=True,
            **as_user(USER),  # type: ignore[call-overload]
        )
        options = [word for pair in SETTINGS.items() for word in ("-c", "=".join(pair))]
        server = program("postgres", "postgresql", FOLDER)
        self._run([server, "-D", data, "-p", str(self.port), *options], user=USER)

    @property
    def version(self) -> str:
        """Return the version of the server."""
        return str(self.ask("SHOW server_version")[0][0]).partition(" ")[0]

    def url(self, store: str) -> str:
        """Return the address of a store."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{store}"

    def make(self, store: str) -> None:
        """Make an empty database."""
        self.ask(f'CREATE DATABASE "{store}"')

    def copy(self, full: str, store: str) -> None:
        """Copy a database; nobody may be connected to it."""
        self.ask(f'CREATE DATABASE "{store}" TEMPLATE "{full}"')
        self.ask("CHECKPOINT")

    def settle(self, store: str) -> None:
        """Do what autovacuum will do within a minute, and write all pages back."""
        self.ask("VACUUM ANALYZE", store)
        self.ask("CHECKPOINT")

    def drop(self, store: str) -> None:
        """Drop a database, whoever is still connected."""
        self.ask(f'DROP DATABASE IF EXISTS "{store}" WITH (FORCE)')

    def environment(self, store: str) -> dict[str, str]:
        """Return the address of a store, whole and in the variables that libpq reads."""
        return {
            "BENCH_URL": self.url(store),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": OWNER,
            "PGDATABASE": store,
        }

    def ask(self, statement: str, store: str = "postgres") -> list[tuple[Any, ...]]:
        """Carry out one statement and return its rows, if it has any."""
        import psycopg

        with psycopg.connect(self.url(store), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        import psycopg

        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True
