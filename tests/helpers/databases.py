"""New stores for tests, on whichever database was asked for."""

from __future__ import annotations

import shutil

from holdfast.core.clock import FixedClock
from holdfast.core.config import StoreSettings
from holdfast.store import open_store

KINDS = ("sqlite",)


def settings_for(folder, *, wait_seconds=30.0):
    """The settings of an SQLite store in a folder."""
    return StoreSettings(url=f"sqlite:///{folder}/holdfast.db", wait_seconds=wait_seconds)


def a_template(kind, folder):
    """An empty store with its schema, for `fresh_store` to copy."""
    if kind not in KINDS:
        raise ValueError(f"--db {kind}: these tests know {', '.join(KINDS)}")
    store = open_store(settings_for(folder))
    store.prepare()
    store.close()
    return folder


def fresh_store(template, folder, *, wait_seconds=30.0):
    """A ready store whose clock stands still: `store.database.clock.advance(…)` moves it."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return open_store(settings_for(folder, wait_seconds=wait_seconds), FixedClock())


def again(store):
    """Another store object on the same database, as another process would have it."""
    settings = StoreSettings(url=store.url, wait_seconds=store.database.wait_seconds)
    return open_store(settings, store.database.clock)
