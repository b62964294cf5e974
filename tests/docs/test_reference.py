"""The reference is what the code says, and leaves nothing out."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from inspect import isclass

import pytest
import typer.main

from helpers.pages import ROOT, blocks, headings
from holdfast.cli import errors as cli_errors
from holdfast.cli.main import commands
from holdfast.core import config, errors, events
from holdfast.core.states import ALLOWED, AttemptOutcome, RunState

REFERENCE = ROOT / "docs" / "reference"


def rows(name):
    """The first cells of all tables of a page, and the lines they stand in."""
    found = {}
    for line in (REFERENCE / name).read_text().splitlines():
        match = re.match(r"\| `([^`]+)` \|", line)
        if match:
            found[match[1]] = line
    return found


def test_the_reference_is_not_stale():
    check = [sys.executable, ROOT / "docs" / "generate.py", "--check"]

    done = subprocess.run(check, capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"run docs/generate.py\n{done.stdout}{done.stderr}"


def names_of_commands(group, before="holdfast"):
    for name, command in group.commands.items():
        yield f"{before} {name}"
        if hasattr(command, "commands"):
            yield from names_of_commands(command, f"{before} {name}")


def test_every_command_stands_in_the_reference():
    expected = set(names_of_commands(typer.main.get_command(commands)))

    assert expected <= {text for _, text in headings(REFERENCE / "cli.md")}


def settings():
    for part in (config.StoreSettings, config.WorkerSettings, config.RetentionSettings):
        yield from (entry.name for entry in fields(part))


@pytest.mark.parametrize("name", ["app", *settings()])
def test_every_setting_has_a_meaning_in_the_reference(name):
    meaning = rows("settings.md")[name].split("|")[-2]

    assert meaning.strip()


def test_every_event_stands_in_the_reference():
    expected = {
        kind.__name__
        for kind in vars(events).values()
        if isclass(kind) and issubclass(kind, events.Event) and kind is not events.Event
    }

    assert expected == {text for level, text in headings(REFERENCE / "events.md") if level == 2}


@pytest.mark.parametrize("module", [errors, cli_errors])
def test_every_error_stands_in_the_reference(module):
    expected = {
        kind.__name__
        for kind in vars(module).values()
        if isclass(kind) and issubclass(kind, Exception) and kind.__module__ == module.__name__
    }

    assert expected
    assert expected <= set(rows("errors.md"))


def test_every_state_and_outcome_stands_in_the_reference():
    assert {*RunState, *AttemptOutcome} == set(rows("states.md"))


def test_the_chart_of_states_shows_the_allowed_moves_and_no_others():
    (chart,) = (b.text for b in blocks(REFERENCE / "states.md") if b.language == "mermaid")

    moves = set(re.findall(r"^ +(\w+) --> (\w+)$", chart, re.MULTILINE))

    assert {(state, to) for state, many in ALLOWED.items() for to in many} == moves
