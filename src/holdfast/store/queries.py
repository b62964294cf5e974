"""Load the named SQL of sql/common, with the overrides of one dialect."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(dialect: str) -> dict[str, str]:
    """Return name -> SQL: the common text, replaced where the dialect has its own."""
    queries: dict[str, str] = {}
    for folder in ("common", dialect):
        place = files("holdfast.store").joinpath("sql", folder)
        if place.is_dir():
            for file in place.iterdir():
                queries |= parse(file.read_text())
    return queries


def parse(text: str) -> dict[str, str]:
    """Return the queries of one file: name -> SQL without comment lines."""
    parts = _NAME.split(text)[1:]
    return {
        name: "\n".join(line for line in body.strip().splitlines() if not line.startswith("--"))
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
