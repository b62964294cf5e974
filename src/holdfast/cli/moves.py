"""Show how the move of a store goes on, and what it has brought."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from holdfast.cli.errors import NoStore, NoTarget, tell
from holdfast.core import config
from holdfast.core.config import sqlite_path
from holdfast.core.units import show_bytes

if TYPE_CHECKING:
    from types import TracebackType

    from holdfast.cli.options import Session
    from holdfast.store import Store
    from holdfast.store.moving import Moved, Progress

_TENTHS = 10  # of a table: a line for each, where there is no terminal


def move(session: Session, old: str | None, new: str | None) -> None:
    """Move a store to another place; raises NoStore, NoTarget, MoveError."""
    from holdfast.store import moving

    if new is None:
        raise NoTarget(store=config.without_password(old or ""))
    source = _there(session, old)
    target = _store(session, new)
    lease = session.settings.worker.lease_seconds
    with Shown() as shown:
        moved = moving.move(source, target, lease, shown.tell)
    _say(source, target, moved)


def give_up(session: Session, old: str | None) -> None:
    """Open a store again whose move is not complete."""
    from holdfast.store import moving

    source = _there(session, old)
    if moving.give_up(source):
        tell(f"{source.url} is open again. What has come to the other store counts for nothing.")
    else:
        tell(f"{source.url} is not being moved.")


def _say(source: Store, target: Store, moved: Moved) -> None:
    if moved.before:
        tell(f"{source.url} was moved to {target.url} before; nothing is left to do.")
    runs, attempts = _many(moved.runs, "run"), _many(moved.attempts, "attempt")
    tell(f"Moved to {target.url}: {runs}, {attempts}, {show_bytes(moved.log_bytes)} of logs.")
    tell(
        "Next, for all programs and workers: let HOLDFAST_STORE, or store in holdfast.toml, "
        "name it."
    )


def _many(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _there(session: Session, url: str | None) -> Store:
    """Open a store that is there: the one that the settings name, unless one is given."""
    store = _store(session, url)
    path = sqlite_path(store.url)
    if path is not None and not path.exists():
        raise NoStore(store=store.url)
    return store


def _store(session: Session, url: str | None) -> Store:
    """Open a store, without touching it yet; raises ConfigError."""
    from holdfast.store import open_store

    store = open_store(session.store_settings(url))
    session.context.call_on_close(store.close)
    return store


class Shown:
    """Draw bars on a terminal, else print lines."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._tenths: dict[str, int] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeRemainingColumn as Left

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
            self._bars = self._open.enter_context(Progress(*columns))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def tell(self, progress: Progress) -> None:
        """Show how much of a table has come."""
        if not progress.total:
            return
        if self._bars is None:
            self._print(progress)
            return
        if progress.table not in self._tasks:
            added = self._bars.add_task(progress.table, total=progress.total)
            self._tasks[progress.table] = added
        self._bars.update(self._tasks[progress.table], completed=progress.done)

    def _print(self, progress: Progress) -> None:
        tenth = progress.done * _TENTHS // progress.total
        if tenth > self._tenths.get(progress.table, 0):
            self._tenths[progress.table] = tenth
            tell(f"{progress.table}: {progress.done} of {progress.total}")
