"""A private MariaDB server for tests: its own folder and port, so that it may be killed."""

from __future__ import annotations

import shutil
from contextlib import nullcontext, suppress
from typing import ClassVar

import pymysql

from helpers.server import PrivateServer

# What is tested so survives processes, not power cuts.
FAST = {"innodb-flush-log-at-trx-commit": "2", "innodb-flush-method": "nosync"}


class MysqlServer(PrivateServer):
    """One server of MariaDB."""

    kind = "mysql"
    user = "mysql"
    full = pymysql.OperationalError
    settings: ClassVar = {
        "bind-address": "127.0.0.1",
        "skip-name-resolve": "1",
        "max-connections": "60",
        "innodb-log-file-size": "32M",
        "innodb-buffer-pool-size": "64M",
    }

    def making(self):
        return [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self._options(),
        ]

    def serving(self):
        return [
            shutil.which("mariadbd") or "/usr/sbin/mariadbd",
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--port={self.port}",
            *self._options(),
        ]

    def _options(self):
        return [f"--{name}={value}" for name, value in self.settings.items()]

    def url(self, database="mysql"):
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def open_to(self, host):
        """Let others in by another address of this host, once it is started."""
        self.settings["bind-address"] = "0.0.0.0"  # noqa: S104
        self.start()
        others = f"root@'{host.rpartition('.')[0]}.%'"
        self.execute(f"CREATE USER {others}", f"GRANT ALL ON *.* TO {others}")
        self.stop()

    def connect(self, database="mysql"):
        """A connection of the driver."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True
        )

    def answers(self):
        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True

    def execute(self, *statements, database="mysql"):
        """Carry out statements and return the rows of the last one, if it has any."""
        with self.connect(database) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def clients(self):
        """The numbers of the connections of Holdfast, and of others that are not seen apart."""
        with self.connect() as connection:
            return self.clients_seen_by(connection)

    def clients_seen_by(self, connection):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
                " AND user = 'root' AND db LIKE 'holdfast%' OR db LIKE 'store%'"
            )
            return [number for (number,) in cursor.fetchall()]

    def cut(self, numbers=None, through=None):
        """End connections, all of them unless told, by a connection that is there perhaps."""
        with nullcontext(through) if through else self.connect() as connection:
            for number in self.clients_seen_by(connection) if numbers is None else numbers:
                with suppress(pymysql.MySQLError):  # it has just gone
                    connection.cursor().execute(f"KILL {number}")

    def waits_for_lock(self):
        """Tell whether anybody waits for a lock."""
        ((_, waiting),) = self.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
        return int(waiting)

    def stands_in_transaction(self):
        """Tell whether anybody of Holdfast is in a transaction and does nothing."""
        return self.execute(
            "DO SLEEP(0.11)",  # the table is older when it was asked for within 0.1 seconds
            "SELECT 1 FROM information_schema.innodb_trx JOIN information_schema.processlist"
            " ON id = trx_mysql_thread_id WHERE command = 'Sleep'",
        )

    def deadlocks(self):
        """How many deadlocks the server has broken."""
        return int(self.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0][1])
