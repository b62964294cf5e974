"""Define tasks and check their calls before anything is stored."""

from __future__ import annotations

import inspect
import math
import string
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from holdfast.core import names, units
from holdfast.core.clock import SECOND
from holdfast.core.errors import BadArguments, BadOption
from holdfast.core.ids import RunId
from holdfast.core.lazy import lazy
from holdfast.core.models import NewRun, TaskOptions
from holdfast.core.payload import Json, encode_arguments
from holdfast.core.retry import MOST_RETRIES, Retry, RetryPolicy

if TYPE_CHECKING:
    from holdfast.run import Run

Duration = float | str | timedelta
LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
MOST_AT_ONCE = 1_000_000
FIRST_YEAR, LAST_YEAR = 1970, 9998  # what every time zone can show
DEFAULT_OPTIONS = TaskOptions()


class Body(Protocol):
    """Be what a task carries out: a function or a command."""

    @property
    def shared(self) -> bool:
        """Tell whether one executor may run several of it at once."""
        ...

    def check(self, args: tuple[Json, ...], kwargs: dict[str, Json]) -> None:
        """Raise BadArguments when the call does not fit."""
        ...


class FunctionBody:
    """Carry out a Python function, sync or async."""

    def __init__(self, function: Callable[..., Any], *, takes_context: bool = False) -> None:
        self.function = function
        self.takes_context = takes_context

    @lazy
    def shared(self) -> bool:
        """Tell whether it is ``async def``: those share an executor's event loop."""
        return inspect.iscoroutinefunction(self.function)

    @lazy
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @lazy
    def _positional(self) -> tuple[float, float]:
        """Return how many arguments it needs and takes without a name; nothing fits (inf, 0)."""
        least, most = 0.0, 0.0
        for parameter in self._signature.parameters.values():
            needed = parameter.default is parameter.empty
            match parameter.kind:
                case parameter.POSITIONAL_ONLY | parameter.POSITIONAL_OR_KEYWORD:
                    least, most = least + needed, most + 1
                case parameter.VAR_POSITIONAL:
                    most = math.inf
                case parameter.KEYWORD_ONLY if needed:
                    return math.inf, 0.0
        return least - self.takes_context, most - self.takes_context

    def check(self, args: tuple[Json, ...], kwargs: dict[str, Json]) -> None:
        """Raise BadArguments when the function cannot be called like this."""
        least, most = self._positional
        if not kwargs and least <= len(args) <= most:
            return  # as most calls are; to bind them costs more than to write them
        context = (None,) if self.takes_context else ()
        try:
            self._signature.bind(*context, *args, **kwargs)
        except TypeError as error:
            name = getattr(self.function, "__qualname__", "the function")
            problem = f"{error}; the signature is {name}{self._signature}"
            raise BadArguments(path="arguments", problem=problem) from None


class CommandBody:
    """Carry out a command: a list of arguments, or one text for the shell."""

    shared = False

    def __init__(self, template: Sequence[str] | str, *, shell: bool = False) -> None:
        is_text = isinstance(template, str)
        given = [template] if is_text else template
        parts = tuple(given) if isinstance(given, list | tuple) else ()
        if shell != is_text or not _are_texts(parts):
            expected = "a list of texts, or one text together with shell=True"
            raise BadOption(option="argv", value=template, expected=expected)
        self.template = template if isinstance(template, str) else parts
        self.shell = shell
        self.names = {name for part in parts for name in _placeholders(part)}

    def check(self, args: tuple[Json, ...], kwargs: dict[str, Json]) -> None:
        """Raise BadArguments unless exactly the placeholders of the template are given."""
        wanted = ", ".join(sorted(self.names)) or "none"
        if args or set(kwargs) != self.names:
            given = ", ".join([*(repr(a) for a in args), *sorted(kwargs)]) or "none"
            problem = f"the command takes these values by name: {wanted}; given: {given}"
            raise BadArguments(path="arguments", problem=problem)
        self.render(args, kwargs)

    def render(self, _args: Sequence[Json], kwargs: Mapping[str, Json]) -> list[str]:
        """Return the argument list with the values filled in; each stays one argument."""
        texts = {name: _argument(name, value) for name, value in kwargs.items()}
        if isinstance(self.template, str):
            return _shell(self.template, texts)
        return [part.format_map(texts) for part in self.template]

    def cwd(self, _kwargs: Mapping[str, Json]) -> str | None:
        """Return the working directory for a call, None for that of the worker."""
        return None


class AdHocCommandBody(CommandBody):
    """Carry out whatever argument list the run brings along: ``holdfast run -- CMD``."""

    def __init__(self) -> None:
        super().__init__(["{argv}"])

    def check(self, args: tuple[Json, ...], kwargs: dict[str, Json]) -> None:
        """Raise BadArguments unless it is a list of texts, and `cwd` at most."""
        if not args or set(kwargs) - {"cwd"}:
            problem = "give the program and its arguments as texts, and cwd at most by name"
            raise BadArguments(path="arguments", problem=problem)
        self.render(args, kwargs)
        if "cwd" in kwargs and not isinstance(kwargs["cwd"], str):
            raise BadArguments(path="cwd", problem="a working directory is a text")

    def render(self, args: Sequence[Json], kwargs: Mapping[str, Json]) -> list[str]:
        """Return the argument list."""
        _argument("cwd", kwargs.get("cwd", ""))
        return [_argument(f"args[{index}]", value) for index, value in enumerate(args)]

    def cwd(self, kwargs: Mapping[str, Json]) -> str | None:
        """Return the working directory that the run asks for."""
        return kwargs.get("cwd")


def _are_texts(parts: tuple[object, ...]) -> bool:
    return any(parts) and all(isinstance(part, str) and "\0" not in part for part in parts)


def _placeholders(part: str) -> Iterator[str]:
    """Yield the names in one text; conversions and formats could undo the quoting of a value."""
    try:
        fields = [field[1:] for field in string.Formatter().parse(part) if field[1] is not None]
    except ValueError:
        fields = [("", "", "")]
    for name, spec, conversion in fields:
        if not (name and name.isidentifier() and name.isascii()) or spec or conversion:
            expected = "placeholders such as {name}; write {{ and }} for braces"
            raise BadOption(option="argv", value=part, expected=expected)
        yield name


def _shell(template: str, texts: Mapping[str, str]) -> list[str]:
    """Return the call of a shell that gets the values as variables, never as program text.

    So no value is ever read as shell, whatever stands around its placeholder: quotes, backticks,
    a here-document.
    """
    variables = {name: f"_holdfast_{name}" for name in texts}
    assignments = [f"{variables[name]}=${{{n}}}" for n, name in enumerate(texts, 1)]
    script = template.format_map({name: f'"${{{variables[name]}}}"' for name in texts})
    return ["/bin/sh", "-c", "\n".join([*assignments, script]), "sh", *texts.values()]


def _argument(name: str, value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadArguments(path=name, problem="a value in a command is a text or a number")
    text = str(value)
    if "\0" in text:
        raise BadArguments(path=name, problem="an argument of a command cannot hold a NUL byte")
    return text


class Call(NamedTuple):
    """Hold a task with checked arguments, ready for `app.enqueue_many`."""

    task: Task
    arguments: str  # JSON


class Enqueuer(Protocol):
    """Create runs from calls; the App is one."""

    def enqueue(self, call: Call) -> Run:
        """Commit a run for a call."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """Describe a registered function or command, with its options.

    Calling a task calls its function here and now; `enqueue` hands it to a worker.
    """

    name: str
    body: Body
    app: Enqueuer = field(repr=False, compare=False)
    queue_name: str = "default"
    priority: int = 0
    run_after: datetime | None = None
    dedupe_key: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int = 1
    run_id: str | None = None
    connection: Any = field(default=None, repr=False, compare=False)
    options: TaskOptions = DEFAULT_OPTIONS

    @lazy
    def common(self) -> NewRun:
        """Return what all runs of this task are stored with, as one without id and arguments."""
        return NewRun(
            run_id=RunId(""),
            task=self.name,
            queue=self.queue_name,
            priority=self.priority,
            arguments="",
            options=msgspec.json.encode(self.options).decode(),
            due_at=due_at(self),
            shared=self.body.shared and self.options.memory is None,
            dedupe_key=self.dedupe_key,
            concurrency_key=self.concurrency_key,
            concurrency_limit=self.concurrency_limit,
        )

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function directly, without store or worker."""
        if not isinstance(self.body, FunctionBody):
            raise BadOption(option="task", value=self.name, expected="a function to call directly")
        return self.body.function(*args, **kwargs)

    def using(self, /, **changes: Any) -> Task:
        """Return this task with other options, for the next enqueue.

        `queue_name`, `priority` (-100..100, higher first), `run_after` (datetime, timedelta,
        seconds or ``"5m"``), `dedupe_key` (no second run while one with this key waits or runs),
        `concurrency_key` and `concurrency_limit` (how many runs of the key run at once),
        `timeout`, `memory`, `retries`, `crashes`, `run_id` (to repeat an enqueue whose answer
        was lost), `connection` (of psycopg, PyMySQL, sqlite3, SQLAlchemy or Django: the run
        is a part of the transaction that is open there). Raises BadOption.
        """
        limits = {name: changes.pop(name) for name in LIMITS if name in changes}
        if "run_after" in changes:
            changes["run_after"] = _run_after(changes["run_after"])
        unknown = set(changes) - USABLE
        if unknown:
            name = min(unknown)
            expected = f"one of {', '.join(sorted({*USABLE, *LIMITS}))}"
            raise BadOption(option=name, value=changes[name], expected=expected)
        task = replace(self, **changes, options=with_limits(self.options, **limits))
        check_options(task)
        return task

    def call(self, /, *args: Json, **kwargs: Json) -> Call:
        """Check arguments and return a call for `app.enqueue_many`; raises BadArguments."""
        self.body.check(args, kwargs)
        return Call(self, encode_arguments(args, kwargs))

    def enqueue(self, /, *args: Json, **kwargs: Json) -> Run:
        """Create a run and return its handle once it is committed.

        With `using(connection=…)` the run is there when the transaction of that is committed.
        Raises BadArguments for values that are not JSON, StoreUnavailable when the store did
        not accept it; then nothing was enqueued.
        """
        self.body.check(args, kwargs)
        return self.app.enqueue(Call(self, encode_arguments(args, kwargs)))

    def aenqueue(self, /, *args: Json, **kwargs: Json) -> Awaitable[Run]:
        """Do as `enqueue`, without blocking the event loop.

        A `connection` is then the AsyncSession or AsyncConnection of SQLAlchemy; raises BadOption
        for another one.
        """
        if self.connection is None:
            import asyncio

            return asyncio.to_thread(self.enqueue, *args, **kwargs)
        if not hasattr(self.connection, "run_sync"):
            expected = "SQLAlchemy's AsyncSession or AsyncConnection; with others, call enqueue()"
            raise BadOption(option="connection", value=self.connection, expected=expected)
        # It calls us where a sync session may be used, and the event loop goes on meanwhile.
        awaitable: Awaitable[Run] = self.connection.run_sync(
            lambda sync: replace(self, connection=sync).enqueue(*args, **kwargs)
        )
        return awaitable


LIMITS = ("timeout", "memory", "retries", "crashes")
USABLE = frozenset(Task.__dataclass_fields__) - {"name", "body", "app", "options"}


def with_limits(
    options: TaskOptions,
    *,
    timeout: Duration | None = None,
    memory: int | str | None = None,
    retries: int | RetryPolicy | None = None,
    crashes: int | None = None,
) -> TaskOptions:
    """Return options with the given limits changed; raises BadOption."""
    if crashes is not None:
        units.check_whole(crashes, option="crashes", low=0, high=MOST_RETRIES)
    if retries is not None and not isinstance(retries, RetryPolicy):
        retries = Retry(retries)
    return TaskOptions(
        timeout=options.timeout if timeout is None else units.seconds(timeout, option="timeout"),
        memory=options.memory if memory is None else units.size(memory, option="memory"),
        retries=options.retries if retries is None else retries,
        crashes=options.crashes if crashes is None else crashes,
    )


def check_options(task: Task) -> None:
    """Raise BadOption for an option of a task that has an impossible value."""
    names.check_name(task.name, option="name")
    names.check_queue_name(task.queue_name, option="queue_name")
    for option in ("dedupe_key", "concurrency_key"):
        if getattr(task, option) is not None:
            names.check_key(getattr(task, option), option=option)
    low, high = LOWEST_PRIORITY, HIGHEST_PRIORITY
    units.check_whole(task.priority, option="priority", low=low, high=high)
    limit = task.concurrency_limit
    units.check_whole(limit, option="concurrency_limit", low=1, high=MOST_AT_ONCE)


def _run_after(value: datetime | Duration | None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        wait = timedelta(seconds=units.seconds(value, option="run_after"))
        return datetime.now(UTC) + wait
    if value.tzinfo is None:
        expected = "a datetime with a time zone, such as datetime.now(UTC)"
        raise BadOption(option="run_after", value=value, expected=expected)
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        expected = f"a time in the years {FIRST_YEAR} to {LAST_YEAR}"
        raise BadOption(option="run_after", value=value, expected=expected)
    return value


def due_at(task: Task) -> int | None:
    """Return when the next run of a task may start, in microseconds; None for at once."""
    return None if task.run_after is None else int(task.run_after.timestamp() * SECOND)
