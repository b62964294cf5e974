"""Migrations: whole steps, each once, whoever starts, and never on a store of another version."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.databases import settings_for
from helpers.processes import at_once, prepare
from holdfast.core.errors import SchemaOutdated, StoreUnavailable
from holdfast.store import migrate, open_store

FOLDERS = ("sqlite", "sqlite_logs")
TESTS = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path):
    """A store that nothing was done to yet."""
    store = open_store(settings_for(tmp_path))
    yield store
    store.close()


@pytest.fixture
def extra_step(monkeypatch):
    """Add a step after those there are, as the next version of Holdfast will."""
    real = migrate.steps

    def add(*statements, folder="sqlite"):
        def steps(asked):
            there = real(asked)
            last = there[-1].version
            more = [migrate.Migration(last + 1, "extra", statements)] if asked == folder else []
            return [*there, *more]

        monkeypatch.setattr(migrate, "steps", steps)

    return add


def databases(store):
    return dict(zip(FOLDERS, (store.database, store.log_database), strict=True))


def schema(database):
    """Everything the database holds besides rows: tables, indexes, views, as they were made."""
    with database.transaction() as tx:
        rows = tx._connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        )
        return [(*row[:3], " ".join(row[3].split()) if row[3] else None) for row in rows]


def applied(database):
    """The steps that the store remembers."""
    with database.transaction() as tx:
        rows = tx._connection.execute("SELECT version, name FROM schema_migration ORDER BY version")
        return rows.fetchall()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_numbers_of_the_steps_have_no_gap_and_none_twice(folder):
    versions = [step.version for step in migrate.steps(folder)]

    assert list(range(1, len(versions) + 1)) == versions


def test_a_new_store_is_made_ready_and_remembers_its_steps(store):
    store.prepare()

    for folder, database in databases(store).items():
        steps = [(step.version, step.name) for step in migrate.steps(folder)]
        assert steps == applied(database)
        assert steps[-1][0] == migrate.version(database)


def test_migrating_again_does_nothing(store):
    assert store.migrate()
    before = [schema(database) for database in databases(store).values()]

    assert [] == store.migrate()
    assert before == [schema(database) for database in databases(store).values()]


def test_a_store_migrated_step_by_step_equals_a_fresh_one(tmp_path, monkeypatch):
    """Each version that ever was is a stop on the way."""
    fresh = open_store(settings_for(tmp_path / "fresh"))
    fresh.migrate()
    migrated = open_store(settings_for(tmp_path / "migrated"))
    real = migrate.steps
    for count in range(1, 1 + max(len(real(folder)) for folder in FOLDERS)):
        with monkeypatch.context() as patch:
            patch.setattr(migrate, "steps", lambda folder, count=count: real(folder)[:count])
            migrated.migrate()

    for folder in FOLDERS:
        assert schema(databases(fresh)[folder]) == schema(databases(migrated)[folder])
        assert applied(databases(fresh)[folder]) == applied(databases(migrated)[folder])


def test_of_four_processes_that_start_at_once_all_find_the_store_ready(tmp_path, store):
    assert [[]] * 4 == at_once(4, prepare, str(tmp_path))

    for folder, database in databases(store).items():
        assert len(migrate.steps(folder)) == len(applied(database))


def test_an_existing_store_gets_only_the_missing_steps(store, extra_step):
    store.prepare()
    extra_step("CREATE TABLE more (id INTEGER)", "CREATE INDEX more_idx ON more (id)")

    assert ["extra"] == store.migrate()
    assert ("table", "more", "more", "CREATE TABLE more (id INTEGER)") in schema(store.database)
    assert (2, "extra") == applied(store.database)[-1]


def test_a_step_that_fails_leaves_nothing(store, extra_step):
    store.prepare()
    before = schema(store.database)
    extra_step("CREATE TABLE more (id INTEGER)", "CREATE TABLE more (id INTEGER)")

    with pytest.raises(StoreUnavailable, match="already exists"):
        store.migrate()

    assert before == schema(store.database)
    assert 1 == migrate.version(store.database)


def test_a_migration_killed_in_the_middle_leaves_whole_steps_only(tmp_path, store):
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(TESTS)!r})
from helpers.databases import settings_for
from holdfast.store import migrate, open_store

def statements():
    yield "CREATE TABLE more (id INTEGER)"
    yield "INSERT INTO queue (name) VALUES ('half')"
    os.kill(os.getpid(), signal.SIGKILL)

real = migrate.steps
migrate.steps = lambda folder: [*real(folder), migrate.Migration(2, "extra", statements())]
open_store(settings_for({str(tmp_path)!r})).migrate()
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert -signal.SIGKILL == done.returncode
    assert 1 == migrate.version(store.database)

    store.prepare()

    assert "more" not in [name for _, name, _, _ in schema(store.database)]
    assert [] == store.queues.list()


def test_a_store_of_a_newer_holdfast_is_refused_and_left_alone(store):
    store.prepare()
    store.database.write(lambda tx: tx.execute("record_migration", version=9, name="future"))
    before = schema(store.database)

    for verb in (store.prepare, store.migrate):
        with pytest.raises(SchemaOutdated, match="Install the newer Holdfast") as caught:
            verb()

    assert (9, 1) == (caught.value.found, caught.value.needed)
    assert before == schema(store.database)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_store_of_an_older_holdfast_is_refused_with_advice_until_migrated(
    store, extra_step, folder
):
    store.prepare()
    extra_step("CREATE TABLE more (id INTEGER)", folder=folder)

    with pytest.raises(SchemaOutdated, match="Run `holdfast migrate`") as caught:
        store.prepare()
    assert (1, 2) == (caught.value.found, caught.value.needed)

    store.migrate()
    store.prepare()


def test_a_migration_file_is_read_statement_by_statement():
    text = (
        "-- why\nCREATE TABLE a (\n  b INTEGER, -- inside\n  c TEXT\n);\n\nCREATE INDEX d ON a (b);"
    )

    assert ("CREATE TABLE a (\n  b INTEGER,\n  c TEXT\n)", "CREATE INDEX d ON a (b)") == (
        migrate.split(text)
    )


def test_looking_at_the_version_of_a_new_store_makes_no_schema(store):
    assert 0 == migrate.version(store.database)
    assert [] == schema(store.database)
    assert store.database.dialect.path.exists()
