from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from holdfast.core.errors import StoreRefused, StoreUnavailable
from holdfast.store.patience import Patience
from holdfast.store.sqlite import Sqlite


def failure(code):
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def patience():
    dialect = Sqlite(Path("holdfast.db"), "sqlite")
    return Patience(dialect, 30.0, lambda: None, repeatable=True)


BUSY, TORN = failure(sqlite3.SQLITE_BUSY), failure(sqlite3.SQLITE_IOERR)


def test_what_is_not_of_the_database_is_not_borne(patience):
    assert not patience.bear(ValueError("ours"), reached=True, committing=False)


def test_who_is_only_busy_is_asked_again(patience):
    assert patience.bear(BUSY, reached=True, committing=False)


def test_once_unknown_it_stays_so_in_whatever_way_it_is_tried_next(patience):
    with pytest.raises(StoreUnavailable) as torn:
        patience.bear(TORN, reached=True, committing=True)
    with pytest.raises(StoreRefused):
        patience.bear(sqlite3.IntegrityError("there already"), reached=True, committing=True)
    with pytest.raises(StoreUnavailable) as away:
        patience.bear(TORN, reached=False, committing=False)

    assert (True, True) == (torn.value.unknown, away.value.unknown)
