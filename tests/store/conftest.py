"""A store for each database that `--db` names; a test that asks for one runs on all of them."""

from __future__ import annotations

import pytest

from helpers.databases import a_template, fresh_store


def pytest_generate_tests(metafunc):
    if "database_kind" in metafunc.fixturenames:
        kinds = metafunc.config.getoption("--db").split(",")
        metafunc.parametrize("database_kind", kinds, scope="session")


@pytest.fixture(scope="session")
def template(database_kind, tmp_path_factory):
    """An empty store of this kind, to copy."""
    return a_template(database_kind, tmp_path_factory.mktemp("template"))


@pytest.fixture
def store(template, tmp_path):
    """A new store on each database that was asked for."""
    store = fresh_store(template, tmp_path)
    yield store
    store.close()


@pytest.fixture
def clock(store):
    """The clock of the store, which stands still until told to move."""
    return store.database.clock
