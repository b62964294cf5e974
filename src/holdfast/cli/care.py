"""Care for an installation: `migrate`, `check`."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import errors, tables
from holdfast.cli.errors import tell
from holdfast.cli.moves import give_up, move
from holdfast.cli.options import JsonFlag, Session, command
from holdfast.core.errors import BadOption


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    for function in (migrate, check):
        commands.command(rich_help_panel="Care")(function)


@command
def migrate(
    session: Session,
    old: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="The store to move; else that of --store."),
    ] = None,
    new: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="Move all that is in it to here.")
    ] = None,
    reopen: Annotated[
        bool, typer.Option("--give-up", help="Open a store again whose move is not complete.")
    ] = False,
) -> None:
    """Bring the schema of the store up to date, and make the store when there is none.

    With --to, move the store: runs, history, logs, queues, workers. Stop its workers first; nothing
    can be enqueued there any more. When it is cut off, the same command goes on.
    """
    from holdfast.store import open_store

    if reopen:
        if new is not None:
            raise BadOption(option="give_up", value=True, expected="no --to beside it")
        give_up(session, old)
        return
    if old is not None or new is not None:
        move(session, old, new)
        return
    store = open_store(session.settings.store)
    steps = store.migrate()
    for step in steps:
        tell(f"applied {step}")
    tell(f"{store.url} is up to date.")


@command
def check(session: Session, as_json: JsonFlag = False) -> None:
    """Check the settings and the live environment; exit code 1 when something is wrong."""
    from holdfast.cli.checks import check_all

    findings = check_all(session)
    if as_json:
        tables.print_json([{"level": f.level, "sentence": f.sentence} for f in findings])
    else:
        tables.print_table(("LEVEL", "FINDING"), findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(errors.FAILED)
