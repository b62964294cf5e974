"""Name the tables that hold a store, and write the statements that copy one of them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, NamedTuple

from holdfast.store import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHANGES = ("INSERT", "UPDATE", "DELETE")


class Table(NamedTuple):
    """Name a table and the columns of its key, each a text or a number from 0 on."""

    name: str
    key: tuple[str, ...]
    changes: tuple[str, ...] = _CHANGES  # what a closed store refuses


# In the order in which they are copied. A worker is let write its own row: it must learn there that
# it is held for dead. What is missing here is not worth moving: `log_watch`, `key_lock`.
OF_RUNS = (
    Table("worker", ("worker_id",), ("INSERT", "DELETE")),
    Table("worker_task", ("worker_id", "task")),
    Table("queue", ("name",)),
    Table("lane", ("queue", "task")),
    Table("run", ("run_id",)),
    Table("ended", ("run_id",)),
    Table("attempt", ("run_id", "attempt")),
    Table("live", ("run_id",)),
)
OF_LOGS = (
    Table("log_chunk", ("run_id", "attempt", "start")),
    Table("log_block", ("run_id", "attempt", "start")),
    Table("log_end", ("run_id", "attempt")),
    Table("log_deletion", ("run_id", "attempt")),
)


def statements(table: Table, columns: Sequence[str]) -> dict[str, str]:
    """Return all that copying a table takes, `run.insert` and so on: name -> SQL.

    There is a `page` for each column of the key, such as `run.page.1`.
    """
    key = table.key
    names = {
        "table": table.name,
        "columns": ", ".join(columns),
        "values": ", ".join(f":{column}" for column in columns),
        "key": ", ".join(key),
        "backwards": ", ".join(f"{column} DESC" for column in key),
        "first": key[0],
    }
    found = {}
    for verb, text in _templates().items():
        if verb != "page":
            found[f"{table.name}.{verb}"] = text.substitute(names)
            continue
        for depth, column in enumerate(key):
            names |= {"column": column, "rest": ", ".join(key[depth:])}
            names["same"] = "".join(f"{other} = :{other} AND " for other in key[:depth])
            found[f"{table.name}.page.{depth + 1}"] = text.substitute(names)
    return found


@cache
def _templates() -> dict[str, Template]:
    file = files("holdfast.store").joinpath("sql", "table", "copying.sql")
    return {name: Template(text) for name, text in queries.parse(file.read_text()).items()}
