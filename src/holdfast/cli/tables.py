"""Draw tables for people and JSON for programs."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.clock import SECOND
from holdfast.core.models import COMMAND_TASK, Progress
from holdfast.core.payload import decode_arguments
from holdfast.core.states import LIVE_STATES, RunState
from holdfast.core.texts import one_line, visible_json
from holdfast.core.units import show_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.core.models import AttemptRecord, RunRecord

_PIPED_WIDTH = 10_000  # nothing is cut or wrapped when no terminal limits the line
_GAP = 2
_LEAST_WIDTH = 20
_RAW = frozenset({"arguments", "options", "progress", "result", "certificate", "queues", "death"})
_COLOURS = {
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "quarantined": "bold red",
    "cancelled": "yellow",
    "retrying": "yellow",
    "error": "red",
    "warning": "yellow",
    "ok": "green",
    "paused": "yellow",
}


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, a line a row; the widest texts are cut where the terminal is narrow."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[one_line(str(value)) for value in row] for row in rows]
    console = Console(file=sys.stdout, highlight=False, emoji=False)
    limit = console.width if console.is_terminal else _PIPED_WIDTH
    widths = _widths([list(columns), *cells], limit)
    console.width = max(limit, sum(widths) + _GAP * len(widths))  # the terminal wraps the rest
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, width in zip(columns, widths, strict=True):
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    console.print(table)


def _widths(cells: Sequence[Sequence[str]], limit: int) -> list[int]:
    """Return the width of each column; the last one gives way first, then the second."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for index in (len(widths) - 1, 1):
        excess = sum(widths) + _GAP * (len(widths) - 1) - limit
        widths[index] -= max(0, min(excess, widths[index] - _LEAST_WIDTH))
    return widths


def print_json(value: Any) -> None:
    """Print one JSON document on one line, in UTF-8 whatever the terminal is set to.

    What a terminal would obey is written as an escape of JSON, which reads as the same value.
    """
    _write(_json(value) + "\n")


def print_json_list(values: Iterable[Any]) -> None:
    """Print a JSON list on one line as `print_json` does, an item at a time."""
    begin = "["
    for value in values:
        _write(begin + _json(value))
        begin = ","
    _write("]\n" if begin == "," else "[]\n")


def _write(text: str) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def _json(value: Any) -> str:
    return visible_json(msgspec.json.encode(value).decode())


def as_json(record: Any, **more: Any) -> dict[str, Any]:
    """Return a record of the store as a JSON object: ISO times, stored JSON as it is."""
    values: dict[str, Any] = {}
    for name, value in record._asdict().items():
        if name.endswith("_at"):
            values[name] = iso_time(value)
        elif name in _RAW and value is not None:
            values[name] = msgspec.Raw(value.encode())
        else:
            values[name] = value
    return values | more


def iso_time(at: int | None) -> str | None:
    """Return a stored time in ISO 8601, UTC."""
    from datetime import UTC, datetime

    return None if at is None else datetime.fromtimestamp(at / SECOND, UTC).isoformat()


def short_id(full: str) -> str:
    """Return the end of an id: random, short, and good for every command."""
    return full[-12:]


def label(run: RunRecord) -> str:
    """Return the state of a run in one word for people."""
    if run.state == RunState.SCHEDULED and run.failures > 0:
        return "retrying"
    if run.state == RunState.QUEUED and run.blocked:
        return "blocked"
    if run.paused is not None:
        return "paused"
    return run.state.value


def title(run: RunRecord) -> str:
    """Return the task of a run, or its command line when it is a command."""
    if run.task != COMMAND_TASK:
        return run.task
    return shlex.join(str(part) for part in decode_arguments(run.arguments).args)


def since(now: int, at: int | None) -> str:
    """Return how long ago something was."""
    return "" if at is None else show_seconds(max(0, now - at) / SECOND)


def duration(run: RunRecord, attempts: Sequence[AttemptRecord], now: int) -> str:
    """Return how long the last attempt ran, or runs by now."""
    if run.state == RunState.RUNNING:
        return since(now, run.claimed_at)
    return since(attempts[-1].finished_at, attempts[-1].started_at) if attempts else ""


def what(run: RunRecord, now: int) -> str:
    """Return the most telling words on a run: its error, its progress, when it is due."""
    if run.state not in LIVE_STATES:
        return run.error or ""
    if run.cancel_by is not None:
        return f"being cancelled by {run.cancel_by}"
    if run.paused is not None:
        return run.paused
    if run.progress is not None:
        return progress_of(run)
    if run.state == RunState.SCHEDULED and run.due_at is not None:
        return f"due in {since(run.due_at, now)}"
    return ""


def progress_of(run: RunRecord) -> str:
    """Return how far a running task says that it has come."""
    return show_progress(msgspec.json.decode(run.progress, type=Progress)) if run.progress else ""


def show_progress(progress: Progress) -> str:
    """Return how far a task has come, in words."""
    if progress.total:
        share = f"{progress.done:g} of {progress.total:g} ({progress.done / progress.total:.0%})"
    else:
        share = f"{progress.done:g}"
    return f"{share} {progress.text}".strip()
