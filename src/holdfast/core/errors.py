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
    │   └── NotAllowed         the run is not in a state that permits this
    ├── RunNotSucceeded        `result()` of a run that ended otherwise
    ├── ResultTimeout          the run goes on, the caller stopped waiting
    └── StoreError
        ├── StoreUnavailable   try again
        └── SchemaOutdated     run `holdfast migrate`, or install the newer Holdfast

Each class takes facts, keeps them as attributes and builds its own sentence.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


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
        super().__init__(f"{option}={value!r} is not possible: expected {expected}.")


class TaskNotFound(UsageError):
    """Report a task name that this app does not know."""

    def __init__(self, *, name: str, known: Collection[str]) -> None:
        self.name = name
        self.known = tuple(known)
        close = get_close_matches(name, self.known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "Is the module that defines it imported?"
        super().__init__(f"Task {name!r} is not registered in this app. {hint}")


class RunNotFound(UsageError):
    """Report an id that this store has no run for."""

    def __init__(self, *, run_id: str, matches: Collection[str] = ()) -> None:
        self.run_id = run_id
        self.matches = tuple(matches)
        if matches:
            text = f"{run_id!r} fits several runs: {', '.join(matches)}. Give more of the id."
        else:
            text = f"There is no run {run_id!r} in this store. `holdfast list` shows the runs."
        super().__init__(text)


class AlreadyEnqueued(UsageError):
    """Report an id that was used before for a run with another task or other arguments."""

    def __init__(self, *, run_id: str, task: str) -> None:
        self.run_id = run_id
        self.task = task
        super().__init__(
            f"Run {run_id} exists already, for task {task!r} with other content. Use a new id."
        )


class NotAllowed(UsageError):
    """Report an action that the state of the run does not permit."""

    def __init__(self, *, run_id: str, action: str, state: str) -> None:
        self.run_id = run_id
        self.action = action
        self.state = state
        super().__init__(f"Run {run_id} is {state}: it cannot be {action} now.")


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
    """Report that the store did not carry out a statement; nothing of it was accepted."""

    def __init__(self, *, store: str, problem: str) -> None:
        self.store = store
        self.problem = problem
        super().__init__(f"The store {store} cannot be used now: {problem}. Try again.")


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
