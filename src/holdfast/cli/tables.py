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
from holdfast.core.units import show_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.core.models import AttemptRecord, RunRecord

_PIPED_WIDTH = 10_000  # nothing is cut or wrapped when no terminal limits the line
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
}


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; only its last column gives way when the terminal is narrow."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_PIPED_WIDTH, highlight=False, emoji=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(columns[-1], no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        cells = [plain(str(value)) for value in row]
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
    console.print(table)


def print_json(value: Any) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


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


def plain(text: str) -> str:
    """Return a text without line breaks and control characters: it may come from anywhere."""
    if text.isprintable():
        return text
    spaced = " ".join(text.split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in spaced)


def short_id(full: str) -> str:
    """Return the end of an id: random, short, and good for every command."""
    return full[-12:]


def label(run: RunRecord) -> str:
    """Return the state of a run in one word for people."""
    if run.state == RunState.SCHEDULED and run.failures > 0:
        return "retrying"
    if run.state == RunState.QUEUED and run.blocked:
        return "blocked"
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
    if run.progress is not None:
        return show_progress(msgspec.json.decode(run.progress, type=Progress))
    if run.state == RunState.SCHEDULED and run.due_at is not None:
        return f"due in {since(run.due_at, now)}"
    return ""


def show_progress(progress: Progress) -> str:
    """Return how far a task has come, in words."""
    if progress.total:
        share = f"{progress.done:g} of {progress.total:g} ({progress.done / progress.total:.0%})"
    else:
        share = f"{progress.done:g}"
    return f"{share} {progress.text}".strip()
