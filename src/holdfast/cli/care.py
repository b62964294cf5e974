"""Care for an installation: `migrate`, `check`."""

from __future__ import annotations

import typer

from holdfast.cli import errors, tables
from holdfast.cli.options import JsonFlag, Session, command


def add_to(commands: typer.Typer) -> None:
    """Register the commands of this module."""
    for function in (migrate, check):
        commands.command(rich_help_panel="Care")(function)


@command
def migrate(session: Session) -> None:
    """Bring the schema of the store up to date, and make the store when there is none."""
    from holdfast.store import open_store

    store = open_store(session.settings.store)
    steps = store.migrate()
    for step in steps:
        typer.echo(f"applied {step}")
    typer.echo(f"{store.url} is up to date.")


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
