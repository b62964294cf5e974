"""Two PostgreSQL servers: a primary one, and a synchronous standby that can take its place."""

from __future__ import annotations

from helpers.postgres import PostgresServer, binaries
from helpers.server import PATIENCE
from helpers.waiting import wait_until


class Standby(PostgresServer):
    """A copy of a running server that follows it."""

    def __init__(self, primary, **settings):
        self._primary = primary
        super().__init__(**settings)

    def making(self):
        source = f"host=127.0.0.1 port={self._primary.port} user=holdfast application_name=standby"
        command = [str(binaries() / "pg_basebackup"), "-D", str(self.data), "-d", source]
        return [*command, "--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream"]

    def promote(self):
        """Make it the primary one and wait until it is."""
        assert self.execute("SELECT pg_promote(true, 30)") == [(True,)]


class Pair:
    """A primary server and its standby; a commit is answered when both have it."""

    def __init__(self):
        self.primary = PostgresServer(synchronous_standby_names="standby", fsync="on").start()
        self.standby = Standby(self.primary).start()
        wait_until(self.is_synchronous, within=PATIENCE)

    def is_synchronous(self):
        """Tell whether the standby has all that the primary one has answered."""
        return [("sync",)] == self.primary.execute("SELECT sync_state FROM pg_stat_replication")

    def url(self, database):
        """The address with both."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://holdfast@{hosts}/{database}"

    def stop(self):
        for server in (self.standby, self.primary):
            server.stop()
