"""Put settings, store and tasks together: the object that an application makes once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import msgspec

from holdfast.core import config
from holdfast.core.errors import BadOption, ConfigError, TaskNotFound
from holdfast.core.ids import RunId, is_id, new_id
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
    due_at,
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

    @cached_property
    def settings(self) -> config.Settings:
        """Return the settings; raises ConfigError with every problem at once."""
        return config.load(self._config_file, store=self._store_url)

    @cached_property
    def store(self) -> Store:
        """Open the store, and make it ready when it is new."""
        from holdfast.store import open_store  # not before: `import holdfast` loads no driver

        store = open_store(self.settings.store)
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

    def enqueue_many(self, calls: Sequence[Call]) -> list[Run]:
        """Commit a run for each call, a thousand in a transaction, and return their handles.

        Raises StoreUnavailable when the store stopped accepting; then the runs of whole
        transactions before it are there.
        """
        ids = self.store.runs.insert([_new_run(call) for call in calls])
        return [Run(run_id, self.store) for run_id in ids]

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
    task = call.task
    return NewRun(
        run_id=RunId(_checked_id(task.run_id)),
        task=task.name,
        queue=task.queue_name,
        priority=task.priority,
        arguments=call.arguments,
        options=msgspec.json.encode(task.options).decode(),
        due_at=due_at(task),
        shared=task.body.shared and task.options.memory is None,
        dedupe_key=task.dedupe_key,
        concurrency_key=task.concurrency_key,
        concurrency_limit=task.concurrency_limit,
    )


def _checked_id(run_id: str | None) -> str:
    if run_id is None:
        return new_id()
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
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found = getattr(import_module(module), name or "app", None)
    if not isinstance(found, App):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        problem = f"app={path!r}: expected module:name of a holdfast.App, found {kind}"
        raise ConfigError(problems=[problem])
    return found
