"""Change what becomes of runs: `cancel`, `retry`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import errors
from holdfast.cli.errors import NoConcern, say, tell
from holdfast.cli.options import Filters, Limits, Session, YesFlag, command, user
from holdfast.core.errors import NotAllowed, RunNotFound
from holdfast.core.models import RunRecord
from holdfast.core.states import LIVE_STATES, RunState

if TYPE_CHECKING:
    from holdfast.store import Store

_ALL = 1 << 62  # runs
_UNHAPPY = (RunState.FAILED, RunState.QUARANTINED)  # what `retry --all` means

RunsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Ids of runs, or their ends.")
]
AllFlag = Annotated[bool, typer.Option("--all", help="All runs that fit the filters.")]


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    for function in (cancel, retry):
        commands.command(rich_help_panel="Runs", no_args_is_help=True)(function)


@command
def cancel(
    session: Session,
    run_ids: RunsArgument = None,
    *,
    filters: Filters,
    every: AllFlag = False,
    yes: YesFlag = False,
) -> None:
    """Cancel runs: waiting ones at once, running ones are stopped by their worker."""
    store = session.store

    def carry_out(run: RunRecord) -> str:
        state = store.runs.cancel(run.run_id, by=user())
        return "cancelled" if state == RunState.CANCELLED else "being stopped by its worker"

    if run_ids:
        _act_on_ids(store, run_ids, carry_out)
    elif every:
        states = sorted(LIVE_STATES)
        _act_on_all(_Choice(store, filters, states), "cancel", carry_out, yes=yes)
    else:
        raise NoConcern(action="cancel")


@command
def retry(
    session: Session,
    run_ids: RunsArgument = None,
    *,
    filters: Filters,
    limits: Limits,
    every: AllFlag = False,
    yes: YesFlag = False,
) -> None:
    """Queue ended runs again, with fresh budgets and with other limits if given.

    --all without --state takes the failed and the quarantined ones.
    """
    from holdfast.run import Run

    store = session.store

    def carry_out(run: RunRecord) -> str:
        Run(run.run_id, store).retry(**limits.given())
        return "queued again"

    if run_ids:
        _act_on_ids(store, run_ids, carry_out)
    elif every:
        _act_on_all(_Choice(store, filters, _UNHAPPY), "retry", carry_out, yes=yes)
    else:
        raise NoConcern(action="retry")


class _Choice:
    """Find the runs that fit filters, page by page, however many there are."""

    def __init__(self, store: Store, filters: Filters, states: Sequence[RunState]) -> None:
        self._store = store
        self._filters = filters
        self._states = [filters.state] if filters.state else states

    def __iter__(self) -> Iterator[RunRecord]:
        for state in self._states:
            yield from self._store.runs.each(self._filters.chosen(_ALL, state))


def _act_on_ids(
    store: Store, run_ids: Sequence[str], carry_out: Callable[[RunRecord], str]
) -> None:
    """Act on each; one that cannot be acted on does not keep the others from it."""
    codes = []
    for text in run_ids:
        try:
            run = store.runs.find(text)
            tell(f"{run.run_id}: {carry_out(run)}")
        except (NotAllowed, RunNotFound) as error:
            say(f"holdfast: {error}")
            codes.append(errors.exit_code(error))
    if codes:
        raise typer.Exit(codes[0])


def _act_on_all(
    choice: _Choice, action: str, carry_out: Callable[[RunRecord], str], *, yes: bool
) -> None:
    count = sum(1 for _ in choice)
    if count == 0:
        say(f"No run fits: there is nothing to {action}.")
        raise typer.Exit(errors.FAILED)
    if not yes:
        typer.confirm(f"{action.capitalize()} {_count(count)}?", abort=True, err=True)
    done = skipped = 0
    for run in choice:
        try:
            carry_out(run)
            done += 1
        except (NotAllowed, RunNotFound):
            skipped += 1  # it went on meanwhile
    late = f"; {skipped} had moved on meanwhile" if skipped else ""
    tell(f"{_count(done)} {'cancelled' if action == 'cancel' else 'queued again'}{late}.")


def _count(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
