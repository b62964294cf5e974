"""Put settings, store and tasks together: the object that an application makes once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from msgspec.structs import replace

from holdfast import forks
from holdfast.core import config
from holdfast.core.errors import BadOption, ConfigError, TaskNotFound
from holdfast.core.ids import RunId, is_id, new_id
from holdfast.core.lazy import lazy
from holdfast.core.models import COMMAND_TASK, NewRun, TaskOptions
from holdfast.run import Run
from holdfast.tasks import (
    LIMITS,
    AdHocCommandBody,
    Body,
    Call,
    CommandBody,
    FunctionBody,
    Task,
    check_options,
    with_limits,
)

if TYPE_CHECKING:
    from holdfast.store import Store

Decorator = Callable[[Callable[..., Any]], Task]


class App:
    """Register tasks and enqueue runs.

    Settings come from holdfast.toml, then HOLDFAST_* variables, then these arguments; they are
    read at first use, so that making an App costs nothing. One App may be shared by threads,
    and a forked child opens connections of its own.
    """

    def __init__(self, *, store: str | None = None, config: str | None = None) -> None:
        self._store_url = store
        self._config_file = config
        self.tasks: dict[str, Task] = {}
        self._register(COMMAND_TASK, AdHocCommandBody(), {})

    @lazy
    def settings(self) -> config.Settings:
        """Return the settings; raises ConfigError with every problem at once."""
        return config.load(self._config_file, store=self._store_url)

    @lazy
    def store(self) -> Store:
        """Open the store, and make it ready when it is new."""
        settings = self.settings.store
        # A child forked while another thread imports a module would wait for that thread for ever.
        with forks.away:
            from holdfast.store import open_store  # not before: `import holdfast` loads no driver

            store = open_store(settings)
        store.prepare()
        return store

    @overload
    def task(self, function: Callable[..., Any], /) -> Task: ...

    @overload
    def task(self, /, *, name: str | None = None, **options: Any) -> Decorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        takes_context: bool = False,
        **options: Any,
    ) -> Task | Decorator:
        """Make a function a task: ``@app.task`` or ``@app.task(timeout="10m", retries=3)``.

        `name` is the module and the name of the function unless given; `takes_context` passes a
        Context as first argument. The other options are those of `Task.using`. Raises BadOption.
        """

        def register(function: Callable[..., Any]) -> Task:
            body = FunctionBody(function, takes_context=takes_context)
            return self._register(name or _name_of(function), body, options)

        return register if function is None else register(function)

    def command(
        self, name: str, argv: Sequence[str] | str, *, shell: bool = False, **options: Any
    ) -> Task:
        """Make a command a task: ``app.command("backup", ["pg_dump", "-Fc", "{database}"])``.

        ``{name}`` in an argument is filled in by `enqueue(name=…)` and stays one argument. With
        `shell` the command is one text for /bin/sh; write ``{name}`` without quotes around it:
        the value is one word for the shell, never a part of its program. Raises BadOption.
        """
        return self._register(name, CommandBody(argv, shell=shell), options)

    def run_command(self, argv: Sequence[str], *, cwd: str | None = None, **options: Any) -> Run:
        """Enqueue a command that is no registered task; options as in `Task.using`."""
        task = self.tasks[COMMAND_TASK].using(**options)
        return task.enqueue(*argv, **({"cwd": cwd} if cwd else {}))

    def find_task(self, name: str) -> Task:
        """Return a registered task; raises TaskNotFound."""
        if name not in self.tasks:
            raise TaskNotFound(name=name, known=self.tasks)
        return self.tasks[name]

    def enqueue(self, call: Call) -> Run:
        """Commit a run for one call, as `call.task.enqueue` does, and return its handle."""
        if call.task.connection is not None:
            return self.enqueue_many([call])[0]
        return Run(self.store.runs.insert_one(_new_run(call)), self.store)

    def enqueue_many(self, calls: Sequence[Call]) -> list[Run]:
        """Commit a run for each call, a thousand in a transaction, and return their handles.

        Raises StoreUnavailable when the store stopped accepting; then the runs of whole
        transactions before it are there. Calls of tasks that all have the same `connection` are
        part of the transaction there, all of them or none.
        """
        new = [_new_run(call) for call in calls]
        connection = _connection_of(calls)
        if connection is None:
            return [Run(run_id, self.store) for run_id in self.store.runs.insert(new)]
        ids = self.store.runs.insert_within(new, connection)
        return [Run(run_id, self.store, joined=True) for run_id in ids]

    def get_run(self, run_id: str) -> Run:
        """Return the handle of a run; raises RunNotFound."""
        return Run(self.store.runs.get(run_id).run_id, self.store)

    def _register(self, name: str, body: Body, options: dict[str, Any]) -> Task:
        if name in self.tasks:
            raise BadOption(option="name", value=name, expected="a name that no other task has")
        limits = {key: options.pop(key) for key in LIMITS if key in options}
        allowed = {"queue_name", "priority", "concurrency_key", "concurrency_limit"}
        for key in set(options) - allowed:
            expected = f"one of {', '.join(sorted({*allowed, *LIMITS}))}"
            raise BadOption(option=key, value=options[key], expected=expected)
        limits_of_task = with_limits(TaskOptions(), **limits)
        task = Task(name=name, body=body, app=self, options=limits_of_task, **options)
        check_options(task)
        self.tasks[name] = task
        return task


def _new_run(call: Call) -> NewRun:
    given = call.task.run_id
    run_id = RunId(new_id() if given is None else _checked_id(given))
    return replace(call.task.common, run_id=run_id, arguments=call.arguments)


def _connection_of(calls: Sequence[Call]) -> Any:
    connection = calls[0].task.connection if calls else None
    for call in calls:
        if call.task.connection is not connection:
            expected = "the same one for all calls that are enqueued at once"
            value = [connection, call.task.connection]
            raise BadOption(option="connection", value=value, expected=expected)
    return connection


def _checked_id(run_id: str) -> str:
    if not is_id(run_id):
        expected = "a UUID in lower case, such as holdfast.new_id() makes"
        raise BadOption(option="run_id", value=run_id, expected=expected)
    return run_id


def _name_of(function: Callable[..., Any]) -> str:
    """Return module and name; a script run as ``__main__`` has the name it is imported by."""
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        module = spec.name if spec else Path(getattr(main, "__file__", None) or "__main__").stem
    return f"{module}.{function.__qualname__}"


def load_app(path: str) -> App:
    """Import the App that ``"module:name"`` names; ``""`` gives one that knows commands only.

    Modules of the working directory are found too. Raises ConfigError when there is no such App;
    what the module itself raises passes as it is.
    """
    if not path:
        return App()
    module, _, name = path.partition(":")
    with suppress(FileNotFoundError):  # it was deleted; the app may be found elsewhere
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
    found = getattr(import_module(module), name or "app", None)
    if not isinstance(found, App):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        problem = f"app={path!r}: expected module:name of a holdfast.App, found {kind}"
        raise ConfigError(problems=[problem])
    return found
