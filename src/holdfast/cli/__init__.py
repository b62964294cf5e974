"""Be the command `holdfast`."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from holdfast.cli.streams import make_usable

    make_usable()
    from holdfast.cli.main import commands

    commands(prog_name="holdfast")
