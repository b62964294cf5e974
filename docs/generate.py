"""Write docs/reference from the code: `python docs/generate.py`; `--check` fails when stale."""

from __future__ import annotations

import argparse
import ast
import logging
import re
import sys
from dataclasses import fields, is_dataclass
from enum import Enum
from inspect import getdoc, isclass, signature
from pathlib import Path
from typing import Any

import typer.main

from holdfast.cli import errors as cli_errors
from holdfast.cli.main import commands
from holdfast.core import config, errors, events, states

REFERENCE = Path(__file__).parent / "reference"
GENERATED = (
    "<!-- Written by docs/generate.py from the code. Change the code, then run it again. -->"
)
EVERYWHERE = ("--store", "--app", "--config")  # options that every command has
MEMBERS = {  # of enumerations, whose name says it all where they are declared
    "succeeded": "it returned, or its command ended with exit code 0",
    "cancelled": "somebody asked for it",
    "timed_out": "it ran longer than its time limit",
}

ABOUT_SETTINGS = """\
Settings come from `holdfast.toml` in the working directory (another file: `--config` or
`HOLDFAST_CONFIG`), then from environment variables, then from arguments; the later wins. Times
are numbers of seconds or texts such as `"90s"`, `"10m"`, `"1h30m"`. `holdfast check` reports
every problem at once."""
ABOUT_EVENTS = """\
A worker says what happens through the standard `logging` module, on the logger named with each
event; the record carries the event itself as `record.event`. With `--log-format json` each is one
JSON object with its name under `event` and its fields beside it."""
ABOUT_ERRORS = """\
Each error holds its facts as attributes, and its text is one sentence with the next step. The
command line prints it and ends with the exit code beside it."""
ABOUT_STATES = """\
From `running` a run goes back to `scheduled` or `queued` by a retry, a snooze, a release or the
loss of its worker. From a final state only an operator brings it back: `holdfast retry`.
`holdfast list` says `retrying` for a scheduled run that has failed before, and `blocked` for a
queued one whose concurrency key is busy, and `paused` for a running one whose writes wait until
there is room for its log."""

# Pieces of Markdown


def page(title: str, *parts: str) -> str:
    """Return a whole page."""
    return "\n\n".join([GENERATED, f"# {title}", *(part.strip() for part in parts)]) + "\n"


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in x) + " |" for x in lines
    )


def code(text: object) -> str:
    """Return a text as code, or nothing for nothing."""
    return f"`{text}`" if text not in (None, "") else ""


def plain(docstring: str | None) -> str:
    """Return a docstring as Markdown: its double backticks are single ones there."""
    return (docstring or "").replace("``", "`")


# What the source says beside its lines


def comments(module: Any, name: str) -> dict[str, str]:
    """Return what stands as comment beside each line of a class: name -> comment."""
    source = Path(module.__file__).read_text()
    lines = source.splitlines()
    (found,) = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == name)
    told = {}
    for node in found.body:
        target = getattr(node, "target", None) or (getattr(node, "targets", None) or [None])[0]
        if isinstance(target, ast.Name):
            told[target.id] = lines[node.end_lineno - 1][node.end_col_offset :].strip(" #")
    return told


def defaults(name: str) -> dict[str, str]:
    """Return the defaults of a settings class as the source writes them."""
    tree = ast.parse(Path(config.__file__).read_text())
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    told = {}
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            value: ast.expr = node.value
            if isinstance(value, ast.Call):  # field(default_factory=lambda: …)
                value = value.keywords[0].value
            told[node.target.id] = ast.unparse(
                value.body if isinstance(value, ast.Lambda) else value
            )
    return told


# The command line


def cli() -> str:
    """Return the page of the command line, from Typer's own declarations."""
    group: Any = typer.main.get_command(commands)
    everywhere = [p for p in group.params if p.opts[0] in (*EVERYWHERE, "--version")]
    parts = [
        group.help,
        "These options stand before or after any command:",
        option_table(everywhere),
        "`--install-completion` installs completion for your shell.",
        "## Exit codes",
        cli_errors.EXIT_CODES_TEXT,
    ]
    panels: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        panels.setdefault(command.rich_help_panel, []).extend(command_parts(command, name))
    for panel, texts in panels.items():
        parts += [f"## {panel}", *texts]
    return page("Command line", *parts)


def command_parts(command: Any, name: str) -> list[str]:
    """Return the section of a command, and those of the commands below it."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    own = [p for p in options if p.opts[0] not in EVERYWHERE]
    usage = " ".join(["holdfast", name, *(["[OPTIONS]"] if own else []), *map(placed, arguments)])
    parts = [f"### holdfast {name}", f"```\n{usage}\n```", plain(command.help)]
    if arguments:
        rows = [(code(p.metavar or p.name.upper()), p.help or "") for p in arguments]
        parts.append(table(("argument", "meaning"), rows))
    if own:
        parts.append(option_table(own))
    for below, inner in getattr(command, "commands", {}).items():
        parts += command_parts(inner, f"{name} {below}")
    return parts


def placed(argument: Any) -> str:
    """Return an argument as it stands in a usage line."""
    text = (argument.metavar or argument.name.upper()) + ("..." if argument.nargs == -1 else "")
    return text if argument.required else f"[{text}]"


def option_table(options: list[Any]) -> str:
    """Return a table of options."""
    rows = [(code(written(p)), p.help or "", code(default_of(p))) for p in options]
    return table(("option", "meaning", "default"), rows)


def written(option: Any) -> str:
    """Return an option as it is typed."""
    names = ", ".join(option.opts)
    if option.is_flag:
        return names
    kind = option.type_descriptor.annotation
    if isclass(kind) and issubclass(kind, Enum):
        return f"{names} {'|'.join(member.value for member in kind)}"
    return f"{names} {option.metavar or option.opts[0].lstrip('-').upper().replace('-', '_')}"


def default_of(option: Any) -> str:
    """Return the default of an option, or nothing."""
    default = option.default.value if isinstance(option.default, Enum) else option.default
    return "" if default in (None, False) else str(default)


# Settings


def settings() -> str:
    """Return the page of the settings."""
    parts = [
        ABOUT_SETTINGS,
        settings_table("", config.Settings, {"app", "secrets"}),
    ]
    for part, kind in config_parts().items():
        parts += [f"## [{part}]", getdoc(kind) or "", settings_table(part, kind, None)]
    return page("Settings", *parts)


def config_parts() -> dict[str, Any]:
    """Return the parts of the settings by name."""
    made = config.Settings()
    values = {entry.name: getattr(made, entry.name) for entry in fields(made)}
    return {name: type(value) for name, value in values.items() if is_dataclass(value)}


def settings_table(part: str, kind: Any, only: set[str] | None) -> str:
    """Return the table of one part of the settings."""
    told, values = comments(config, kind.__name__), defaults(kind.__name__)
    rows = []
    for entry in fields(kind):
        if only is None or entry.name in only:
            name = entry.name
            flat = "store" if (part, name) == ("store", "url") else f"{part}_{name}".lstrip("_")
            meaning = told[name]
            variable = f"HOLDFAST_{flat.upper()}"
            rows.append((code(name), code(variable), code(value_of(values[name])), meaning))
    return table(("setting", "variable", "default", "meaning"), rows)


def value_of(source: str) -> str:
    """Return a default as a person writes it: the constant behind a name."""
    return repr(getattr(config, source)) if source.isupper() or source in vars(config) else source


# Events, errors, states


def event_types() -> list[Any]:
    """Return all events in the order of their declaration."""
    return [x for x in vars(events).values() if isclass(x) and issubclass(x, events.Event)][1:]


def event_page() -> str:
    """Return the page of events."""
    parts = [
        ABOUT_EVENTS,
    ]
    for event in event_types():
        names = ", ".join(code(entry.name) for entry in fields(event)) or "none"
        about = f"Level {logging.getLevelName(event.level)}, logger `holdfast.{event.layer}`."
        sentence = event.sentence.replace("\n", " ⏎ ")
        parts += [f"## {event.__name__}", f"{getdoc(event)} {about}", f"> {code(sentence)}"]
        parts.append(f"Fields: {names}.")
    return page("Events", *parts)


def error_types(module: Any) -> list[Any]:
    """Return the errors that a module declares, in their order."""
    found = [x for x in vars(module).values() if isclass(x) and issubclass(x, Exception)]
    return [x for x in found if x.__module__ == module.__name__]


def error_page() -> str:
    """Return the page of errors."""
    tree = re.search(r"::\n\n(.*)\n\nEach", errors.__doc__ or "", re.DOTALL)
    assert tree is not None
    lines = "\n".join(line.removeprefix("    ") for line in tree[1].splitlines())
    parts = [
        ABOUT_ERRORS,
        f"```\n{lines}\n```",
        error_table(error_types(errors)),
        "## Errors of the command line",
        error_table(error_types(cli_errors)),
    ]
    return page("Errors", *parts)


def error_table(types: list[Any]) -> str:
    """Return a table of errors."""
    rows = []
    for kind in types:
        names = signature(kind).parameters if "__init__" in vars(kind) else {}
        exit_code = cli_errors.exit_code(kind.__new__(kind))
        facts = ", ".join(map(code, names))
        rows.append(
            (code(kind.__name__), plain(getdoc(kind)).replace("\n", " "), facts, f"{exit_code}")
        )
    return table(("error", "meaning", "attributes", "exit code"), rows)


def state_page() -> str:
    """Return the page of states and outcomes."""
    run_states, outcomes = comments(states, "RunState"), comments(states, "AttemptOutcome")
    parts = [
        "## Runs",
        chart(),
        state_table(states.RunState, run_states, "state"),
        ABOUT_STATES,
        "## Attempts",
        "Each attempt that has ended has one outcome.",
        state_table(states.AttemptOutcome, outcomes, "outcome"),
    ]
    return page("States and outcomes", *parts)


def chart() -> str:
    """Return the chart of allowed moves."""
    lines = ["stateDiagram-v2", "    [*] --> queued", "    [*] --> scheduled"]
    for state in states.RunState:
        lines += [f"    {state} --> {to}" for to in states.RunState if to in states.ALLOWED[state]]
    lines += [f"    {state} --> [*]" for state in states.RunState if state in states.FINAL_STATES]
    return "```mermaid\n" + "\n".join(lines) + "\n```"


def state_table(kind: type[Enum], told: dict[str, str], column: str) -> str:
    """Return a table of the members of an enumeration."""
    rows = [(code(x.value), told[x.name] or MEMBERS[x.value]) for x in kind]
    return table((column, "meaning"), rows)


PAGES = {
    "cli.md": cli,
    "settings.md": settings,
    "events.md": event_page,
    "errors.md": error_page,
    "states.md": state_page,
}


def main() -> int:
    """Write the pages, or with --check say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when stale")
    check = parser.parse_args().check
    pages = {REFERENCE / name: make() for name, make in PAGES.items()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'stale' if check else 'written'}: docs/reference/{path.name}")
        if not check:
            path.write_text(pages[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
