"""Load the named SQL of sql/common, with the overrides of one dialect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from holdfast.store.dialects import Dialect

Values = dict[str, Any]
Copy = Callable[[Any, str, Iterable[Any]], None]  # (cursor, statement, rows)


class Query(NamedTuple):
    """Hold a statement as one driver takes it."""

    text: str
    bind: Callable[[Values], Any]  # returns the named values as the driver takes them
    copy: Copy | None = None  # carries it out where rows follow the statement, many at once


_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(folder: str) -> dict[str, str]:
    """Return name -> SQL: the common text, replaced where a dialect has its own."""
    queries: dict[str, str] = {}
    for name in ("common", folder):
        place = files("holdfast.store").joinpath("sql", name)
        if place.is_dir():
            for file in place.iterdir():
                queries |= parse(file.read_text())
    return queries


def of(dialect: Dialect, name: str) -> Query:
    """Return one query as the driver of a dialect takes it."""
    return dialect.adapt(load(dialect.name)[name])


def parse(text: str) -> dict[str, str]:
    """Return the queries of one file: name -> SQL without comment lines."""
    parts = _NAME.split(text)[1:]
    return {
        name: "\n".join(line for line in body.strip().splitlines() if not line.startswith("--"))
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
