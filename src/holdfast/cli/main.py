"""Put the commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import act, care, logs, look, start, work
from holdfast.cli.errors import EXIT_CODES_TEXT, Commands
from holdfast.cli.options import AppOption, ConfigOption, StoreOption
from holdfast.version import __version__


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


VersionFlag = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which one.")
]


def remember(
    context: typer.Context,
    store: StoreOption = None,
    app: AppOption = None,
    config: ConfigOption = None,
    version: VersionFlag = False,
) -> None:
    """Hand work over and know what becomes of it."""
    del version
    context.obj = {"store": store, "app": app, "config": config}


def build() -> typer.Typer:
    """Return the whole command line."""
    commands = typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        epilog=EXIT_CODES_TEXT,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    commands.callback()(remember)
    for module in (work, start, look, logs, act, care):
        module.add_to(commands)
    return commands


commands = build()
