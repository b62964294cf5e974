"""Keep runs, workers, queues and logs in a database: the only place that knows SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.clock import SystemClock
from holdfast.store import gates, migrate
from holdfast.store.database import Database
from holdfast.store.dialects import dialects_of
from holdfast.store.leases import Leases
from holdfast.store.logs import Logs
from holdfast.store.queues import Queues
from holdfast.store.runs import Runs
from holdfast.store.upkeep import Upkeep
from holdfast.store.workers import Workers

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.core.config import StoreSettings
    from holdfast.core.models import Durability
    from holdfast.store.bell import Bell

__all__ = ["Store", "StoreClock", "open_store"]


class StoreClock:
    """Tell the time as the server of a store does: hosts that share it need not agree."""

    def __init__(self, store: Store) -> None:
        self._database = store.database

    def now(self) -> int:
        """Return the time of the server in microseconds since 1970, UTC; of a file, this host's."""
        return self._database.now()

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, of this host."""
        return self._database.clock.monotonic()


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
        self.upkeep = Upkeep(log_database)

    @property
    def url(self) -> str:
        """Return the address of this store."""
        return self.database.dialect.url

    def migrate(self) -> list[str]:
        """Bring the schema up to date and return the names of the steps applied.

        Raises NotAStore for what is something else, and leaves that as it is.
        """
        self.check_ours()
        steps = migrate.apply(self.database, self.database.dialect.schema)
        logs = migrate.apply(self.log_database, self.log_database.dialect.schema)
        return steps + [f"logs: {step}" for step in logs]

    def prepare(self) -> None:
        """Make a new store ready; raises SchemaOutdated for one of another version, NotAStore."""
        self.check_ours()
        if migrate.version(self.database) == 0 or migrate.version(self.log_database) == 0:
            self.migrate()
        migrate.check(self.database, self.database.dialect.schema)
        migrate.check(self.log_database, self.log_database.dialect.schema)

    def check_ours(self) -> None:
        """Raise NotAStore for the database of something else; the look changes nothing there."""
        self.database.dialect.check_ours("run")
        self.log_database.dialect.check_ours("log_chunk")

    def check_open(self) -> None:
        """Raise StoreRefused for a store that is being moved, from here or to here."""
        gates.check_open(self.database)

    def names(self) -> set[str]:
        """Return the address of this store, and that of the one that was moved to here."""
        came = gates.move_of(self.database, gates.HERE)
        return {self.url} if came is None else {self.url, came.other}

    def durability(self) -> Durability:
        """Return what a commit survives, by the settings that are really in force."""
        row = self.database.read(lambda tx: tx.row("durability"))
        return self.database.dialect.durability(*(row or ()))

    def lock_holders(self) -> set[int]:
        """Return the processes of this host that are in a transaction: others may wait for them."""
        return self.database.dialect.lock_holders() | self.log_database.dialect.lock_holders()

    def close(self) -> None:
        """Close the connections of this thread."""
        self.database.close()
        self.log_database.close()


def open_store(settings: StoreSettings, clock: Clock | None = None) -> Store:
    """Open the store that the settings name, without touching it yet.

    All that is needed of this package is read here: to read files of a package imports modules,
    and that must not happen while another thread forks (see `App.store`).
    """
    clock = clock or SystemClock()
    runs, logs = dialects_of(settings.url)
    for dialect in (runs, logs):
        migrate.steps(dialect.schema)
    wait = settings.wait_seconds
    database = Database(runs, clock, wait)
    return Store(database, Database(logs, clock, wait), runs.bell(database))
