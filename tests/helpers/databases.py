"""New stores for tests, on whichever database was asked for."""

from __future__ import annotations

from holdfast.core.clock import FixedClock
from holdfast.core.config import StoreSettings
from holdfast.store import open_store

KINDS = ("sqlite",)


def fresh_store(kind, folder, *, wait_seconds=30.0):
    """A ready store whose clock stands still: `store.database.clock.advance(…)` moves it."""
    if kind not in KINDS:
        raise ValueError(f"--db {kind}: these tests know {', '.join(KINDS)}")
    store = open_store(settings_for(folder, wait_seconds=wait_seconds), FixedClock())
    store.prepare()
    return store


def settings_for(folder, *, wait_seconds=30.0):
    """The settings of an SQLite store in a folder."""
    return StoreSettings(url=f"sqlite:///{folder}/holdfast.db", wait_seconds=wait_seconds)


def again(store):
    """Another store object on the same database, as another process would have it."""
    settings = StoreSettings(url=store.url, wait_seconds=store.database.wait_seconds)
    return open_store(settings, store.database.clock)
