"""Make the numbered lines that tasks write, so that each byte of a log is known beforehand."""

from __future__ import annotations

import re

_WIDTHS = (0, 7, 60, 200)  # of what follows the number
_PREFIX = r"(?:\d\d:\d\d:\d\d\.\d{3} [A-Z]+ [\w.]+: )?"  # of a logging record
_LINE = re.compile(_PREFIX + r"([0-9a-f-]{36})\.(\d+) (\w+) (\d+)(?: x*)?")


def line_of(run: str, attempt: int, pen: str, number: int) -> str:
    """Return the text of a line, without its newline; lines are of different length."""
    return f"{run}.{attempt} {pen} {number} {'x' * _WIDTHS[number % len(_WIDTHS)]}"


def read_line(text: str) -> tuple[str, int, str, int] | None:
    """Return the run, attempt, pen and number that a line names, or None for another text."""
    found = _LINE.fullmatch(text)
    return (found[1], int(found[2]), found[3], int(found[4])) if found else None
