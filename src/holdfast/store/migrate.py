"""Bring the schema of a store up to date: numbered steps, each once, under a lock."""

from __future__ import annotations

import re
from functools import cache, partial
from importlib.resources import files
from sqlite3 import complete_statement
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.errors import SchemaOutdated

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.database import Database, Tx
    from holdfast.store.queries import Query

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    """Name one step of a schema."""

    version: int
    name: str
    statements: tuple[str, ...]


@cache
def steps(folder: str) -> tuple[Migration, ...]:
    """Return the migrations of one folder in their order."""
    place = files("holdfast.store").joinpath("migrations", folder)
    found = (
        Migration(int(match[1]), match[2], split(file.read_text()))
        for file in place.iterdir()
        if (match := _FILE.fullmatch(file.name))
    )
    return tuple(sorted(found))


def split(text: str) -> tuple[str, ...]:
    """Return the statements of a migration file, each of which ends with its line."""
    found = [""]
    for line in text.splitlines():
        if code := line.partition("--")[0].rstrip():
            found[-1] += f"{code}\n"
            if complete_statement(found[-1]):  # a trigger has a `;` in its middle too
                found.append("")
    return tuple(part.strip().removesuffix(";") for part in found if part)


def version(database: Database) -> int:
    """Return the schema version of a store; 0 for a new one."""

    def read(tx: Tx) -> int:
        try:
            row = tx.row("schema_version")
        except Exception as error:
            if database.dialect.is_no_table(error):
                return 0
            raise
        return int(row[0]) if row else 0

    return database.read(read)


def apply(database: Database, folder: str) -> list[str]:
    """Apply what is missing and return the names of the steps applied.

    Each step is one transaction that begins by taking the write lock and reading the version, so
    of two that start at once the second waits and then finds nothing to do. A process killed in
    the middle leaves whole steps only; where the database commits within one, what it leaves is
    completed by carrying it out again. Raises SchemaOutdated when the store is newer than this
    version of Holdfast.
    """
    adapt = database.dialect.adapt
    try:
        database.write(_begin)
        applied = [
            step.name
            for step in steps(folder)
            if database.write(partial(_apply_step, step=step, adapt=adapt))
        ]
    finally:
        database.close()  # where the lock belongs to a connection, not to a transaction
    check(database, folder)
    return applied


def _begin(tx: Tx) -> None:
    tx.execute("lock_schema")
    tx.execute("create_schema")
    tx.execute("create_schema_migration")


def _apply_step(tx: Tx, step: Migration, adapt: Callable[[str], Query]) -> bool:
    tx.execute("lock_schema")
    row = tx.row("schema_version")
    if row is not None and row[0] >= step.version:
        return False
    tx.script([adapt(statement).text for statement in step.statements])
    tx.execute("record_migration", version=step.version, name=step.name)
    return True


def check(database: Database, folder: str) -> None:
    """Raise SchemaOutdated unless the store has exactly the schema that this version needs."""
    found, needed = version(database), steps(folder)[-1].version
    if found != needed:
        raise SchemaOutdated(store=database.dialect.url, found=found, needed=needed)
