"""Map errors to exit codes, and say them in one sentence."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from holdfast.core.errors import (
    ConfigError,
    HoldfastError,
    LogDeleted,
    NotAllowed,
    RunNotFound,
    StoreError,
    TaskNotFound,
    UsageError,
)
from holdfast.core.names import LONGEST_NAME
from holdfast.core.texts import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
STORE = 4
SETTINGS = 5
TIMED_OUT = 124
KILLED = 128  # plus the number of the signal
INTERRUPTED = 130

EXIT_CODES_TEXT = f"""Exit codes: {OK} done; {FAILED} the run failed, or nothing was done; \
{USAGE} wrong usage; {NOT_FOUND} no such run, task, queue or log; \
{STORE} the store is unavailable or \
needs `holdfast migrate`; {SETTINGS} the settings are wrong.

`holdfast run` ends with the exit code of the command; {KILLED}+N when signal N killed it, \
{TIMED_OUT} when it ran out of time, {INTERRUPTED} when it was cancelled."""


class NoStore(StoreError):
    """Report that there is no store where the settings say."""

    def __init__(self, *, store: str) -> None:
        self.store = store
        super().__init__(
            f"There is no store at {store} yet. `holdfast up` makes it and starts a worker; "
            "another place is named by --store or HOLDFAST_STORE."
        )


class NoApp(ConfigError):
    """Report that a command needs an app and was not told which, or cannot use it."""

    def __init__(self, *, app: str, problem: str) -> None:
        self.app = app
        where = f"app={app!r}: {problem}" if app else problem
        super().__init__(problems=[f"{where}; name it as --app module:name, or HOLDFAST_APP"])


class NotEmbedded(ConfigError):
    """Report that `holdfast up` was asked for a store that is a server of its own."""

    def __init__(self, *, store: str) -> None:
        self.store = store
        problem = f"store={store!r} is no embedded store; start `holdfast worker` instead"
        super().__init__(problems=[problem])


class NoTarget(UsageError):
    """Report that a store is to be moved, and was not told where to."""

    def __init__(self, *, store: str) -> None:
        self.store = store
        super().__init__(f"Move it where? `holdfast migrate --from {store} --to URL`.")


class NoConcern(UsageError):
    """Report that a command was not told which runs it is about."""

    def __init__(self, *, action: str) -> None:
        self.action = action
        super().__init__(
            f"Which runs? Give their ids, or --all for all that fit the filters: "
            f"`holdfast {action} --task NAME --all`."
        )


class QueueNotFound(UsageError):
    """Report a queue that was never used in this store."""

    def __init__(self, *, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        named = shorten(repr(name), LONGEST_NAME)
        super().__init__(f"There is no queue {named}. Known: {', '.join(known) or 'none'}.")


class AttemptNotFound(UsageError):
    """Report an attempt that a run has not had."""

    def __init__(self, *, run_id: str, attempt: int, last: int) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.last = last
        super().__init__(f"Run {run_id} has had {last} attempts; there is no attempt {attempt}.")


_EXIT_CODES: dict[type[HoldfastError], int] = {  # the closest class counts
    HoldfastError: FAILED,
    NotAllowed: FAILED,
    UsageError: USAGE,
    RunNotFound: NOT_FOUND,
    TaskNotFound: NOT_FOUND,
    QueueNotFound: NOT_FOUND,
    AttemptNotFound: NOT_FOUND,
    LogDeleted: NOT_FOUND,
    StoreError: STORE,
    ConfigError: SETTINGS,
}


def exit_code(error: HoldfastError) -> int:
    """Return the documented exit code of an error."""
    return next(_EXIT_CODES[kind] for kind in type(error).__mro__ if kind in _EXIT_CODES)


def say(text: str) -> None:
    """Print a line for the person, on stderr; nothing in it is obeyed by the terminal."""
    typer.echo(visible(text), err=True)


def tell(text: str = "") -> None:
    """Print a line that was asked for, on stdout; nothing in it is obeyed by the terminal."""
    typer.echo(visible(text))


def _sentence_on(error: OSError) -> str:
    try:
        os.getcwd()
    except FileNotFoundError:
        return "The working directory does not exist any more. Change to another one."
    return str(error)


class Commands(TyperGroup):
    """Group the commands, and end each error with its sentence and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Carry out the command."""
        try:
            return super().invoke(ctx)
        except HoldfastError as error:
            say(f"holdfast: {error}")
            raise typer.Exit(exit_code(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            say(f"holdfast: {_sentence_on(error)}")
            raise typer.Exit(FAILED) from error
