"""A store for each database that `--db` names; a test that asks for one runs on all of them."""

from __future__ import annotations

import pytest

from helpers.databases import fresh_store


def pytest_generate_tests(metafunc):
    if "database_kind" in metafunc.fixturenames:
        kinds = metafunc.config.getoption("--db").split(",")
        metafunc.parametrize("database_kind", kinds)


@pytest.fixture
def store(database_kind, tmp_path):
    """A new store on each database that was asked for."""
    store = fresh_store(database_kind, tmp_path)
    yield store
    store.close()


@pytest.fixture
def clock(store):
    """The clock of the store, which stands still until told to move."""
    return store.database.clock
