"""Start runs: `run`, `enqueue`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import errors
from holdfast.cli.errors import say, tell
from holdfast.cli.options import Limits, Placing, Session, command
from holdfast.cli.tables import print_json
from holdfast.core.errors import BadOption, RunNotSucceeded
from holdfast.core.ids import new_id
from holdfast.core.payload import Unfit, parse

_JSON_BEGINS = ("{", "[", '"')
DetachFlag = Annotated[bool, typer.Option("--detach", help="Print the id and do not follow.")]


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    commands.command(
        context_settings={"allow_interspersed_args": False},
        rich_help_panel="Runs",
        no_args_is_help=True,
    )(run)
    commands.command(rich_help_panel="Runs", no_args_is_help=True)(enqueue)


@command
def run(
    session: Session,
    words: Annotated[list[str], typer.Argument(metavar="CMD", help="The command, after --.")],
    placing: Placing,
    limits: Limits,
    cwd: Annotated[
        Path | None, typer.Option(help="Where to run it; else the folder you are in.")
    ] = None,
    no_cwd: Annotated[bool, typer.Option("--no-cwd", help="Run it where the worker is.")] = False,
    detach: DetachFlag = False,
) -> None:
    """Run a command on a worker, print what it writes, and end with its exit code.

    Ctrl-C cancels the command; pressed again it leaves at once. The command goes on when the
    terminal is closed: `holdfast logs -f ID` follows it again.
    """
    from holdfast.cli.following import Interrupts, follow_to_the_end

    if no_cwd and cwd is not None:
        raise BadOption(option="cwd", value=str(cwd), expected="no --no-cwd beside it")
    folder = None if no_cwd else str((cwd or Path.cwd()).absolute())
    options = placing.given() | limits.given()
    if detach:
        tell(session.bare_app.run_command(words, cwd=folder, **options).id)
        return
    with Interrupts() as interrupts:
        options["run_id"] = new_id()
        session.new_store.logs.watch(options["run_id"])  # before it writes: no line waits
        made = session.bare_app.run_command(words, cwd=folder, **options)
        code = follow_to_the_end(session.new_store, made.id, interrupts)
    raise typer.Exit(code)


@command
def enqueue(
    session: Session,
    task: Annotated[str, typer.Argument(help="The name of a task of your app.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARG", help="JSON or text; NAME=ARG passes it by name."),
    ] = None,
    *,
    placing: Placing,
    limits: Limits,
    wait: Annotated[bool, typer.Option("--wait", help="Wait and print the result.")] = False,
) -> None:
    """Enqueue a run of a task of your app and print its id."""
    args, kwargs = read_arguments(arguments or [])
    chosen = session.app.find_task(task).using(**placing.given(), **limits.given())
    made = chosen.enqueue(*args, **kwargs)
    if not wait:
        tell(made.id)
        return
    try:
        print_json(made.result())
    except RunNotSucceeded as error:
        say(f"holdfast: {error}")
        raise typer.Exit(errors.FAILED) from error


def read_arguments(texts: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named values: JSON where it is JSON, else the text as it is."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            twice = Unfit("it is given more than once")
            kwargs[name] = twice if name in kwargs else _value(value)
        else:
            args.append(_value(text))
    return args, kwargs


def _value(text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        if not text.lstrip().startswith(_JSON_BEGINS):
            return text
        problem = f"it begins like JSON and is none ({error}); quote it twice to pass it as text"
        return Unfit(problem)
