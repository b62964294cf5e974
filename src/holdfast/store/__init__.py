"""Keep runs, workers, queues and logs in a database: the only place that knows SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.clock import SystemClock
from holdfast.store import migrate
from holdfast.store.bell import Bell
from holdfast.store.database import Database
from holdfast.store.dialects import sqlite_dialects
from holdfast.store.leases import Leases
from holdfast.store.logs import Logs
from holdfast.store.queues import Queues
from holdfast.store.runs import Runs
from holdfast.store.workers import Workers

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.core.config import StoreSettings

__all__ = ["Store", "open_store"]

_SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}


class Store:
    """Give the verbs of each noun over one store; safe to share between threads and forks."""

    def __init__(self, database: Database, log_database: Database, bell: Bell) -> None:
        self.database = database
        self.log_database = log_database
        self.bell = bell
        self.runs = Runs(database, bell)
        self.leases = Leases(database)
        self.workers = Workers(database)
        self.queues = Queues(database, bell)
        self.logs = Logs(log_database)

    @property
    def url(self) -> str:
        """Return the address of this store."""
        return self.database.dialect.url

    def migrate(self) -> list[str]:
        """Bring the schema up to date and return the names of the steps applied."""
        steps = migrate.apply(self.database, "sqlite")
        return steps + [f"logs: {s}" for s in migrate.apply(self.log_database, "sqlite_logs")]

    def prepare(self) -> None:
        """Make a new store ready; raises SchemaOutdated for one of another version."""
        if migrate.version(self.database) == 0 or migrate.version(self.log_database) == 0:
            self.migrate()
        migrate.check(self.database, "sqlite")
        migrate.check(self.log_database, "sqlite_logs")

    def durability(self) -> tuple[str, str]:
        """Return the journal mode and the way of syncing that are in force, as SQLite names them.

        They are asked of the connection: a file system or an option may have refused ours.
        """
        row = self.database.read(lambda tx: tx.row("durability"))
        mode, level = row if row is not None else ("unknown", -1)
        return mode, _SYNCHRONOUS.get(level, "unknown")

    def close(self) -> None:
        """Close the connections of this thread."""
        self.database.close()
        self.log_database.close()


def open_store(settings: StoreSettings, clock: Clock | None = None) -> Store:
    """Open the store that the settings name, without touching it yet."""
    clock = clock or SystemClock()
    runs, logs = sqlite_dialects(settings.url)
    bell = Bell(runs.path.with_name(f"{runs.path.name}.bell"))
    wait = settings.wait_seconds
    return Store(Database(runs, clock, wait), Database(logs, clock, wait), bell)
