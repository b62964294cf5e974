"""Be the command `holdfast`."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from holdfast.cli.main import commands

    commands(prog_name="holdfast")
