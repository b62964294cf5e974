"""A private PgBouncer for tests, in front of a private PostgreSQL server."""

from __future__ import annotations

import shutil
import signal
from typing import ClassVar

import psycopg

from helpers.server import PrivateServer


class PgBouncer(PrivateServer):
    """One PgBouncer with the settings that it comes with, but for what is named here."""

    user = "postgres"
    gentle = signal.SIGKILL  # what SIGTERM means depends on its version
    settings: ClassVar = {
        "listen_addr": "127.0.0.1",
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": "5",
        "max_client_conn": "200",
        "server_login_retry": "1",  # seconds; usually 15 pass until it looks for the server again
    }

    def __init__(self, behind, **settings):
        self._behind = behind
        super().__init__(**settings)

    def making(self):
        lines = ["[databases]", f"* = host=127.0.0.1 port={self._behind.port} user=holdfast"]
        lines += ["[pgbouncer]", f"listen_port = {self.port}"]
        lines += [f"{name} = {value}" for name, value in self.settings.items()]
        (self.folder / "ini").write_text("\n".join([*lines, ""]))
        return ["true"]

    def serving(self):
        return [shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", str(self.folder / "ini")]

    def url(self, database="postgres"):
        return f"postgresql://holdfast@127.0.0.1:{self.port}/{database}"

    def answers(self):
        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError:
            return False
        return True
