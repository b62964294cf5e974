"""Declare the options that commands share, and give each command its session."""

from __future__ import annotations

import inspect
import os
import pwd
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from holdfast.cli.errors import NoStore
from holdfast.core import config, units
from holdfast.core.config import Settings, sqlite_path
from holdfast.core.states import RunState

if TYPE_CHECKING:
    from holdfast.app import App
    from holdfast.core.config import StoreSettings
    from holdfast.store import Store
    from holdfast.store.runs import RunFilter

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="The store. Also: HOLDFAST_STORE."),
]
AppOption = Annotated[
    str | None,
    typer.Option("--app", metavar="MODULE:NAME", help="The app. Also: HOLDFAST_APP."),
]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="The settings file. Also: HOLDFAST_CONFIG."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a run, its beginning or its end.")
]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass
class Session:
    """Give a command its settings, store and app; options after the command win."""

    context: typer.Context
    store_url: StoreOption = None
    app_name: AppOption = None
    config_file: ConfigOption = None

    @cached_property
    def given(self) -> dict[str, str | None]:
        """Return what stands on the command line: store, app and config."""
        own = {"store": self.store_url, "app": self.app_name, "config": self.config_file}
        before: dict[str, str | None] = self.context.find_root().obj or {}
        return {name: before.get(name) if value is None else value for name, value in own.items()}

    @cached_property
    def settings(self) -> Settings:
        """Return the settings; raises ConfigError with every problem at once."""
        return self.settings_with()

    def settings_with(self, **arguments: Any) -> Settings:
        """Return the settings with more of them given on the command line."""
        given = self.given
        return config.load(given["config"], store=given["store"], app=given["app"], **arguments)

    def store_settings(self, url: str | None) -> StoreSettings:
        """Return the settings of a store at another place than theirs; raises ConfigError."""
        given = self.given
        return config.load(given["config"], store=url or given["store"], app=given["app"]).store

    @cached_property
    def store(self) -> Store:
        """Open a store that is there; raises NoStore, SchemaOutdated."""
        path = sqlite_path(self.settings.store.url)
        if path is not None and not path.exists():
            raise NoStore(store=f"sqlite:///{path}")
        return self.new_store

    @cached_property
    def new_store(self) -> Store:
        """Open the store, and make it when it is not there; raises SchemaOutdated."""
        from holdfast.store import open_store

        store = open_store(self.settings.store)
        self.context.call_on_close(store.close)
        store.prepare()
        return store

    @cached_property
    def app(self) -> App:
        """Import the app that the settings name; raises NoApp."""
        from holdfast.cli.apps import load_app

        app = load_app(self.settings.app)
        if self.given["store"] or self.given["config"]:
            app.settings = self.settings
        self.context.call_on_close(lambda: app.store.close() if "store" in vars(app) else None)
        return app

    @cached_property
    def bare_app(self) -> App:
        """Make an app that knows no tasks but commands."""
        from holdfast.app import App

        app = App()
        app.settings = self.settings
        app.store = self.new_store
        return app


@dataclass(frozen=True, slots=True)
class Filters:
    """Choose runs."""

    state: Annotated[RunState | None, typer.Option(help="Only runs in this state.")] = None
    task: Annotated[str | None, typer.Option(help="Only runs of this task.")] = None
    queue: Annotated[str | None, typer.Option(help="Only runs of this queue.")] = None
    since: Annotated[
        str | None, typer.Option(metavar="AGE", help="Enqueued since: 2h, 3d, or an ISO time.")
    ] = None
    error: Annotated[
        str | None, typer.Option(metavar="TEXT", help="With this text in the error.")
    ] = None

    def chosen(self, limit: int, state: RunState | None = None) -> RunFilter:
        """Return the filter of the store, for one page."""
        from holdfast.store.runs import RunFilter

        return RunFilter(
            state=self.state or state,
            task=self.task,
            queue=self.queue,
            since=None if self.since is None else units.past(self.since, option="since"),
            error=self.error,
            limit=limit,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Replace the limits of a run."""

    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop an attempt after: 90, 10m, 2h.")
    ] = None
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Stop an attempt above: 512MiB, 2GiB.")
    ] = None
    retries: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Try again after N failures at most.")
    ] = None

    def given(self) -> dict[str, Any]:
        """Return what was given, as options of a task."""
        return _given(self)


@dataclass(frozen=True, slots=True)
class Placing:
    """Say where and when a run waits."""

    queue: Annotated[str | None, typer.Option(help="The queue to wait in.")] = None
    priority: Annotated[int | None, typer.Option(min=-100, max=100, help="Higher comes first.")] = (
        None
    )
    run_after: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Not before: 5m from now, or an ISO time.")
    ] = None
    dedupe_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="No second run while one with KEY waits.")
    ] = None
    concurrency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="One run with KEY at a time.")
    ] = None

    def given(self) -> dict[str, Any]:
        """Return what was given, as options of a task."""
        options = _given(self)
        if self.queue is not None:
            options["queue_name"] = options.pop("queue")
        if self.run_after is not None:
            options["run_after"] = units.iso_time(self.run_after) or self.run_after
        return options


def _given(group: Any) -> dict[str, Any]:
    values = {entry.name: getattr(group, entry.name) for entry in fields(group)}
    return {name: value for name, value in values.items() if value is not None}


def user() -> str:
    """Return the name of the person at the keyboard: who it is, not who LOGNAME says it is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose user has no name
        return f"uid {os.getuid()}"


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Turn each parameter that is a dataclass into one option per field, for Typer.

    So a command says `filters: Filters` once, and several commands share the declaration.
    """
    signature = inspect.signature(function, eval_str=True)
    groups = {n: p.annotation for n, p in signature.parameters.items() if _is_group(p.annotation)}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name in groups:
            parameters += _parameters(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in fields(group)})
        function(**values)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)

    def parameter(entry: Field[Any]) -> inspect.Parameter:
        default = inspect.Parameter.empty if entry.default is MISSING else entry.default
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(entry.name, kind, default=default, annotation=hints[entry.name])

    return [parameter(entry) for entry in fields(group)]
