"""A private PostgreSQL server for tests: its own folder and port, so that it may be killed."""

from __future__ import annotations

import signal
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import psycopg

from helpers.server import PrivateServer


def binaries():
    """The folder of the server's programs; Debian keeps it out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    assert found, "PostgreSQL is missing: make system"
    return found[-1]


class PostgresServer(PrivateServer):
    """One server of PostgreSQL."""

    kind = "postgres"
    user = "postgres"
    full = psycopg.OperationalError
    gentle = signal.SIGINT
    at_our_end = "QUIT"
    settings: ClassVar = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "60",
        "fsync": "off",  # what is tested here survives processes, not power cuts
        "logging_collector": "off",
        "log_min_messages": "fatal",
    }

    def making(self):
        options = ["-A", "trust", "-U", "holdfast", "-N", "-E", "UTF8", "--locale=C"]
        return [str(binaries() / "initdb"), "-D", str(self.data), *options]

    def serving(self):
        options = [
            word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")
        ]
        return [str(binaries() / "postgres"), "-D", str(self.data), "-p", str(self.port), *options]

    def url(self, database="postgres"):
        return f"postgresql://holdfast@127.0.0.1:{self.port}/{database}"

    def open_to(self, host):
        """Let others in by another address of this host, once it is started."""
        self.settings["listen_addresses"] = f"127.0.0.1,{host}"
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {host}/24 trust\n")

    def connect(self, database="postgres"):
        """A connection of the driver."""
        return psycopg.connect(self.url(database), autocommit=True)

    def answers(self):
        ready = subprocess.run(
            [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False,
        )
        return ready.returncode == 0

    def execute(self, *statements, database="postgres"):
        """Carry out statements and return the rows of the last one, if it has any."""
        with self.connect(database) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def clients(self):
        """The numbers of the connections of Holdfast."""
        with self.connect() as connection:
            return self.clients_seen_by(connection)

    def clients_seen_by(self, connection):
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'holdfast'"
        )
        return [pid for (pid,) in found]

    def cut(self, numbers=None, through=None):
        """End connections, all of them unless told, by a connection that is there perhaps."""
        with nullcontext(through) if through else self.connect() as connection:
            for number in self.clients_seen_by(connection) if numbers is None else numbers:
                connection.execute(f"SELECT pg_terminate_backend({number})")

    def waits_for_lock(self):
        """Tell whether anybody waits for a lock."""
        return self.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def stands_in_transaction(self):
        """Tell whether anybody of Holdfast is in a transaction and does nothing."""
        return self.execute(
            "SELECT 1 FROM pg_stat_activity"
            " WHERE state = 'idle in transaction' AND application_name = 'holdfast'"
        )

    def deadlocks(self):
        """How many deadlocks the server has broken, as far as it has counted."""
        return self.execute("SELECT sum(deadlocks) FROM pg_stat_database")[0][0]
