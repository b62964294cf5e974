"""New stores for tests, on whichever database was asked for."""

from __future__ import annotations

import atexit
import os
import shutil
import weakref
from itertools import count

from helpers.mysql import FAST, MysqlServer
from helpers.postgres import PostgresServer
from holdfast.core.clock import FixedClock
from holdfast.core.config import StoreSettings
from holdfast.store import open_store

KINDS = ("sqlite", "postgres", "mysql")
# Where files cost no disk; what is synced there need not survive. None: the usual place.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def settings_for(folder, *, wait_seconds=30.0):
    """The settings of an SQLite store in a folder."""
    return StoreSettings(url=f"sqlite:///{folder}/holdfast.db", wait_seconds=wait_seconds)


def a_template(kind, folder):
    """An empty store with its schema, for `fresh_store` to copy."""
    if kind not in KINDS:
        raise ValueError(f"--db {kind}: these tests know {', '.join(KINDS)}")
    if kind == "postgres":
        return PostgresTemplate()
    if kind == "mysql":
        return MysqlTemplate()
    store = open_store(settings_for(folder))
    store.prepare()
    store.close()
    return folder


def fresh_store(template, folder, *, wait_seconds=30.0):
    """A ready store whose clock stands still: `store.database.clock.advance(…)` moves it."""
    if isinstance(template, PostgresTemplate | MysqlTemplate):
        return template.copy(wait_seconds)
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return open_store(settings_for(folder, wait_seconds=wait_seconds), FixedClock())


class PostgresTemplate:
    """A server with an empty store on it; each copy is a database of its own."""

    def __init__(self):
        self.server = PostgresServer().start()
        atexit.register(self.server.stop)
        self._numbers = count()
        self.server.execute("CREATE DATABASE template_store")
        store = open_store(StoreSettings(url=self.server.url("template_store")))
        store.prepare()
        store.close()

    def copy(self, wait_seconds):
        name = f"store_{next(self._numbers)}"
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE template_store")
        return at_our_time(self.server.url(name), wait_seconds)


class MysqlTemplate:
    """A server with stores on it; a database is emptied and used again: to make one is slow."""

    def __init__(self):
        self.server = MysqlServer(**FAST).start()
        atexit.register(self.server.stop)
        self._numbers = count()
        self._free = []

    def copy(self, wait_seconds):
        name = self._free.pop() if self._free else self._new()
        for trigger, *_ in self.server.execute("SHOW TRIGGERS", database=name):
            self.server.execute(f"DROP TRIGGER {trigger}", database=name)
        tables = self.server.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
            " AND table_type = 'BASE TABLE' AND table_name <> 'holdfast_schema_migration'",
            database=name,
        )
        for (table,) in tables:
            ours = table.startswith("holdfast_")
            self.server.execute(f"{'DELETE FROM' if ours else 'DROP TABLE'} {table}", database=name)
        store = at_our_time(self.server.url(name), wait_seconds)
        weakref.finalize(store, self._free.append, name)
        return store

    def _new(self):
        name = f"store_{next(self._numbers)}"
        self.server.execute(f"CREATE DATABASE {name}")
        store = open_store(StoreSettings(url=self.server.url(name)))
        store.prepare()
        store.close()
        return name


def at_our_time(url, wait_seconds):
    """A store on a server that goes by a clock that stands still, not by the server's."""
    store = open_store(StoreSettings(url=url, wait_seconds=wait_seconds), FixedClock())
    for database in (store.database, store.log_database):
        database.dialect.ahead = lambda *_: 0
    return store


def again(store):
    """Another store object on the same database, as another process would have it."""
    settings = StoreSettings(url=store.url, wait_seconds=store.database.wait_seconds)
    return open_store(settings, store.database.clock)
