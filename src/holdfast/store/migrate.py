"""Bring the schema of a store up to date: numbered steps, each once, under a lock."""

from __future__ import annotations

import re
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.errors import SchemaOutdated

if TYPE_CHECKING:
    from holdfast.store.database import Database, Tx

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    """Name one step of a schema."""

    version: int
    name: str
    statements: tuple[str, ...]


def steps(folder: str) -> list[Migration]:
    """Return the migrations of one folder in their order."""
    place = files("holdfast.store").joinpath("migrations", folder)
    return sorted(
        Migration(int(match[1]), match[2], split(file.read_text()))
        for file in place.iterdir()
        if (match := _FILE.fullmatch(file.name))
    )


def split(text: str) -> tuple[str, ...]:
    """Return the statements of a migration file, which holds no `;` inside a statement."""
    lines = (line.partition("--")[0].rstrip() for line in text.splitlines())
    parts = "\n".join(line for line in lines if line).split(";")
    return tuple(part.strip() for part in parts if part.strip())


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
    the middle leaves whole steps only. Raises SchemaOutdated when the store is newer than this
    version of Holdfast.
    """
    database.write(lambda tx: tx.execute("create_schema_migration"))
    applied = [
        step.name for step in steps(folder) if database.write(partial(_apply_step, step=step))
    ]
    check(database, folder)
    return applied


def _apply_step(tx: Tx, step: Migration) -> bool:
    row = tx.row("schema_version")
    if row is not None and row[0] >= step.version:
        return False
    tx.script(step.statements)
    tx.execute("record_migration", version=step.version, name=step.name)
    return True


def check(database: Database, folder: str) -> None:
    """Raise SchemaOutdated unless the store has exactly the schema that this version needs."""
    found, needed = version(database), steps(folder)[-1].version
    if found != needed:
        raise SchemaOutdated(store=database.dialect.url, found=found, needed=needed)
