"""A store for each database that `--db` names; a test that asks for one runs on all of them."""

from __future__ import annotations

from contextlib import closing

import pytest

from helpers.callers import CALLERS_OF
from helpers.databases import a_template, fresh_store
from holdfast import App
from holdfast.store import copying

# Where a move goes that is not tried from each kind to each: each is an old and a new store once.
NEXT = {"sqlite": "postgres", "postgres": "mysql", "mysql": "sqlite"}


def pytest_generate_tests(metafunc):
    if "database_kind" in metafunc.fixturenames:
        asked = kinds = metafunc.config.getoption("--db").split(",")
        if only := metafunc.definition.get_closest_marker("only"):
            kinds = [kind for kind in kinds if kind in only.args]
        if "caller_kind" in metafunc.fixturenames:
            pairs = [(kind, caller) for kind in kinds for caller in CALLERS_OF[kind]]
            metafunc.parametrize(("database_kind", "caller_kind"), pairs, scope="session")
        elif "target_kind" in metafunc.fixturenames:
            to = metafunc.definition.get_closest_marker("to")
            pairs = [(kind, other) for kind in kinds for other in asked if fits(to, kind, other)]
            metafunc.parametrize(("database_kind", "target_kind"), pairs, scope="session")
        else:
            metafunc.parametrize("database_kind", kinds, scope="session")


def fits(to, kind, other):
    """Whether a move from one kind to another is to be tried."""
    return to is None or other in to.args or ("next" in to.args and other == NEXT[kind])


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """An empty store of each kind, to copy: they are made when they are asked for."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = a_template(kind, tmp_path_factory.mktemp("template"))
        return made[kind]

    return get


@pytest.fixture(scope="session")
def template(database_kind, templates):
    """An empty store of this kind, to copy."""
    return templates(database_kind)


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


@pytest.fixture
def send(store):
    """A task of an application with this store."""
    app = App()
    app.store = store

    @app.task(name="shop.send")
    def send(number: object):
        return number

    return send


@pytest.fixture
def target(templates, target_kind, tmp_path):
    """The empty store that the one of the test is moved to."""
    with closing(fresh_store(templates(target_kind), tmp_path / "target")) as store:
        yield store


@pytest.fixture
def small_batches(monkeypatch):
    """Let a move take many steps."""
    monkeypatch.setattr(copying, "PAGE", 3)
    monkeypatch.setattr(copying, "BATCH_ROWS", 7)
    monkeypatch.setattr(copying, "COUNTED", 5)
