"""Declare every error that Holdfast raises to its callers.

::

    HoldfastError
    ├── ConfigError            fix the settings
    ├── UsageError             fix the call
    │   ├── BadArguments       an argument or a result is not JSON
    │   ├── BadOption          an option of a task has a value it cannot have
    │   ├── TaskNotFound       no such task in this app
    │   ├── RunNotFound        no such run in this store
    │   ├── AlreadyEnqueued    this id belongs to a run with other content
    │   ├── OtherDatabase      this connection leads to another database than the store's
    │   ├── NotAllowed         the run is not in a state that permits this
    │   ├── LogDeleted         the retention has deleted the log
    │   └── SearchTooSlow      a regular expression needs too long for a line of a log
    ├── RunNotSucceeded        `result()` of a run that ended otherwise
    ├── ResultTimeout          the run goes on, the caller stopped waiting
    └── StoreError
        ├── StoreUnavailable   try again
        ├── StoreRefused       trying again is of no use
        ├── NotAStore          what is there is something else: name another place
        ├── ServerTooOld       the database server lacks what a store needs
        ├── MissingDriver      install what speaks to this database
        ├── SchemaOutdated     run `holdfast migrate`, or install the newer Holdfast
        └── MoveError          a store cannot be moved, or not yet
            ├── SameStore      both sides are one: name another
            ├── WorkersAreUp   stop them first
            ├── NotEmpty       move to a new store
            ├── MovedElsewhere go on with the other one
            ├── MoveGivenUp    the old store is in use again
            ├── CannotClose    give the user of the database what it takes
            └── CountsDiffer   not all has come: give up, and look why

Each class takes facts, keeps them as attributes and builds its own sentence.
"""

from __future__ import annotations

from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

from holdfast.core.texts import shorten

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


_LONGEST_VALUE = 200  # characters of a value that are shown in a sentence
_MOST_NAMED = 5  # of things that are listed in a sentence


class HoldfastError(Exception):
    """Be the root of every error that Holdfast raises on purpose."""


class ConfigError(HoldfastError):
    """Report every problem of the settings at once."""

    def __init__(self, *, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("Settings cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))


class UsageError(HoldfastError):
    """Be the root of errors that the caller can mend by changing the call."""


class BadArguments(UsageError):
    """Report a value that cannot be stored as JSON, with the path to it."""

    def __init__(self, *, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class BadOption(UsageError):
    """Report an option whose value is not possible."""

    def __init__(self, *, option: str, value: object, expected: str) -> None:
        self.option = option
        self.value = value
        self.expected = expected
        super().__init__(f"{option}={_short(value)} is not possible: expected {expected}.")


class TaskNotFound(UsageError):
    """Report a task name that this app does not know."""

    def __init__(self, *, name: str, known: Collection[str]) -> None:
        self.name = name
        self.known = tuple(known)
        close = get_close_matches(name, self.known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "Is the module that defines it imported?"
        super().__init__(f"Task {_short(name)} is not registered in this app. {hint}")


class RunNotFound(UsageError):
    """Report an id that this store has no run for."""

    def __init__(self, *, run_id: str, matches: Collection[str] = (), joined: bool = False) -> None:
        self.run_id = run_id
        self.matches = tuple(matches)
        self.joined = joined  # it was enqueued in a transaction of the caller
        if joined:
            text = f"Run {run_id} is not there: the transaction in which it was enqueued is not "
            text += "committed yet, or was rolled back."
        elif matches:
            text = f"{_short(run_id)} fits several runs: {', '.join(matches)}. Give more of the id."
        else:
            named = _short(run_id)
            text = f"There is no run {named} in this store. `holdfast list` shows the runs."
        super().__init__(text)


class AlreadyEnqueued(UsageError):
    """Report an id that was used before for a run with another task or other arguments."""

    def __init__(self, *, run_id: str, task: str) -> None:
        self.run_id = run_id
        self.task = task
        super().__init__(
            f"Run {run_id} exists already, for task {task!r} with other content. Use a new id."
        )


class OtherDatabase(UsageError):
    """Report a connection whose transaction cannot hold a run: the store is elsewhere."""

    def __init__(self, *, found: str, store: str) -> None:
        self.found = found
        self.store = store
        super().__init__(
            f"The connection leads to {found}, and the store is {store}: no transaction spans "
            "both. Keep the store and your tables in one database, or enqueue after the commit."
        )


class NotAllowed(UsageError):
    """Report an action that the state of the run does not permit."""

    def __init__(self, *, run_id: str, action: str, state: str) -> None:
        self.run_id = run_id
        self.action = action
        self.state = state
        super().__init__(f"Run {run_id} is {state}: it cannot be {action} now.")


class LogDeleted(UsageError):
    """Report a log whose bytes the retention has deleted."""

    def __init__(self, *, run_id: str, attempt: int, lines: int, size: int, at: int) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.lines = lines
        self.size = size
        self.at = at  # microseconds
        moment = datetime.fromtimestamp(at / 1e6, UTC)
        super().__init__(
            f"The log of run {run_id}, attempt {attempt}, was deleted by the retention on "
            f"{moment:%Y-%m-%d %H:%M:%S} UTC ({lines} lines, {size} bytes)."
        )


class SearchTooSlow(UsageError):
    """Report a regular expression that tries too many ways to fit a line."""

    def __init__(self, *, pattern: str, seconds: float) -> None:
        self.pattern = pattern
        self.seconds = seconds
        super().__init__(
            f"The search for {pattern!r} needs more than {seconds:g} s for one line. "
            "Write it without a repetition inside a repetition."
        )


class RunNotSucceeded(HoldfastError):
    """Report that the run whose result was asked for has ended without one."""

    def __init__(self, *, run_id: str, state: str, reason: str) -> None:
        self.run_id = run_id
        self.state = state
        self.reason = reason
        super().__init__(f"Run {run_id} {state}: {reason}")


class ResultTimeout(HoldfastError):
    """Report that a run had not ended when the caller's patience did; the run goes on."""

    def __init__(self, *, run_id: str, state: str, seconds: float) -> None:
        self.run_id = run_id
        self.state = state
        self.seconds = seconds
        super().__init__(
            f"Run {run_id} is still {state} after {seconds:g} s. It goes on; ask again later."
        )


class StoreError(HoldfastError):
    """Be the root of errors of the database behind the store."""


class StoreUnavailable(StoreError):
    """Report that the store did not carry out a statement; nothing of it was accepted.

    Unless `unknown` is set: then the disk failed in the middle of the commit.
    """

    def __init__(
        self, *, store: str, problem: str, unknown: bool = False, joined: bool = False
    ) -> None:
        self.store = store
        self.problem = problem
        self.unknown = unknown
        self.joined = joined  # it was asked for in a transaction of the caller
        if unknown:
            text = f"The store {store} failed while it committed: {problem}. Nobody knows whether "
            text += "it is there; look, or repeat it with the same run id."
        elif joined:
            text = f"The store {store} cannot take the run in your transaction: {problem}. "
            text += "Roll it back, and repeat the whole of it."
        else:
            text = f"The store {store} cannot be used now: {problem}. Try again."
        super().__init__(text)


class StoreRefused(StoreError):
    """Report that the database does not take a value or a row, now or later."""

    def __init__(self, *, store: str, problem: str) -> None:
        self.store = store
        self.problem = problem
        super().__init__(f"The store {store} refuses what it was given: {problem}.")


class NotAStore(StoreError):
    """Report that what the URL names is no store of Holdfast; it was left as it is."""

    def __init__(self, *, store: str, found: str) -> None:
        self.store = store
        self.found = found
        super().__init__(
            f"There is no Holdfast store at {store}: it is {found}, and was left as it is. "
            "Name another place: --store or HOLDFAST_STORE."
        )


class ServerTooOld(StoreError):
    """Report that the server of the store cannot do what a store needs."""

    def __init__(self, *, store: str, found: str, needed: str) -> None:
        self.store = store
        self.found = found
        self.needed = needed
        super().__init__(
            f"The server of {store} is {found}. Holdfast needs {needed}, or a newer one."
        )


class MissingDriver(StoreError):
    """Report that what speaks to a database is not installed."""

    def __init__(self, *, store: str, package: str) -> None:
        self.store = store
        self.package = package
        super().__init__(f"A store at {store}:// needs a driver. Run `pip install '{package}'`.")


class SchemaOutdated(StoreError):
    """Report that the schema of the store and this version of Holdfast do not fit."""

    def __init__(self, *, store: str, found: int, needed: int) -> None:
        self.store = store
        self.found = found
        self.needed = needed
        if found > needed:
            step = "Install the newer Holdfast that migrated it; an older one never changes it back"
        else:
            step = "Run `holdfast migrate`"
        super().__init__(
            f"The store {store} has schema {found}, this Holdfast needs {needed}. {step}."
        )


class MoveError(StoreError):
    """Be the root of errors of `holdfast migrate --from … --to …`."""


class SameStore(MoveError):
    """Report that a store was to be moved to where it is."""

    def __init__(self, *, store: str) -> None:
        self.store = store
        super().__init__(
            f"The store {store} is there already. Name the old one with --from, and another one "
            "with --to."
        )


class WorkersAreUp(MoveError):
    """Report workers of the old store that live, as far as one can tell within a lease."""

    def __init__(self, *, store: str, workers: Sequence[str], lease_seconds: float) -> None:
        self.store = store
        self.workers = tuple(workers)
        self.lease_seconds = lease_seconds
        named = ", ".join(self.workers[:_MOST_NAMED])
        more = len(self.workers) - _MOST_NAMED
        super().__init__(
            f"The store {store} has workers that are up: {named}"
            f"{f', and {more} more' if more > 0 else ''}. Stop them first; one that was killed "
            f"counts until it was silent for {lease_seconds:g} s."
        )


class NotEmpty(MoveError):
    """Report that a store cannot be moved to where something is already."""

    def __init__(self, *, store: str, found: str) -> None:
        self.store = store
        self.found = found
        super().__init__(
            f"The store {store} is not empty: it has {found}. Move to a new one: name another with "
            "--to, or delete what is there first."
        )


class MovedElsewhere(MoveError):
    """Report that a store moves, or was moved, to another place than was asked for."""

    def __init__(self, *, store: str, to: str, done: bool) -> None:
        self.store = store
        self.to = to
        self.done = done
        if done:
            text = f"The store {store} was moved to {to}. Use that one."
        else:
            text = f"The store {store} is being moved to {to}. Go on with that: "
            text += (
                "`holdfast migrate --from … --to …`; or end it with --give-up in the place of --to."
            )
        super().__init__(text)


class MoveGivenUp(MoveError):
    """Report that somebody else has opened the old store again in the middle of its move."""

    def __init__(self, *, store: str, to: str) -> None:
        self.store = store
        self.to = to
        super().__init__(
            f"The move of the store {store} to {to} was given up meanwhile: go on with the old "
            "one, and delete what is in the new one."
        )


class CannotClose(MoveError):
    """Report that the database does not let a move keep others from writing."""

    def __init__(self, *, store: str, problem: str) -> None:
        self.store = store
        self.problem = problem
        super().__init__(
            f"The store {store} cannot be closed for its move: {problem}. That takes the right to "
            "create triggers, and that no transaction on it goes on for long. Then give the "
            "command again."
        )


class CountsDiffer(MoveError):
    """Report that the new store does not have all rows of the old one; both stay closed."""

    def __init__(self, *, store: str, table: str, found: int, expected: int) -> None:
        self.store = store
        self.table = table
        self.found = found
        self.expected = expected
        super().__init__(
            f"The store {store} has {found} rows in {table}, and not the {expected} of the old "
            "one, so it stays closed. `holdfast migrate --from … --give-up` opens the old one."
        )


def _short(value: object) -> str:
    return shorten(repr(value), _LONGEST_VALUE)
