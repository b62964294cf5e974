"""Write docs/bench.md and its plot from the results; what it says is what was measured."""

from __future__ import annotations

from inspect import getdoc
from typing import TYPE_CHECKING

from bench import plot
from bench.contestants import BARE, FILE, HOLDFAST
from bench.figures import by_measure
from bench.measures import tenths
from bench.results import MEMORY
from bench.table import bound, number, to_ours, yes

if TYPE_CHECKING:
    from bench.figures import Figure
    from bench.results import Results

GENERATED = "<!-- Written by `make bench` from bench/results. Run it again; do not edit. -->"
NO_PEERS = {BARE.key, FILE.key, HOLDFAST.key}
LESS_IS_BETTER = {"ms", "ns", "µs", "% of a core", "MB"}
MACHINE = """\
Measured on {date} at commit {commit}: {cores} cores of {processor}, {memory_gib} GiB, Linux
{kernel}, {file_system}, {sync_us} µs to sync a page; Python {python}, {engines}. Load
before: {load_before}; others used {others_percent} % of the machine meanwhile. It took
{minutes:.0f} minutes."""
BUSY = """\
**The machine was busy with other things: of these figures only the orders of magnitude mean
something.**"""
MEMORY_IS = """\
The most that a main process ever had (the supervisor, in Holdfast), and what all processes of a
worker held together when they were stopped, in all measures above."""
REPEAT = """\
```
{command}
{command} BENCH="--only drain --quick"
```

The first line measures everything, then writes this page and the plot. The second takes a rough
look at one measure and keeps nothing; `--who holdfast` leaves the peers out, `--help` names the
rest. Use a machine that does nothing else, and a real disk: in memory a sync costs nothing."""


def write(results: Results) -> None:
    """Write the page and its plot."""
    results.course.page.write_text(text(results))
    results.course.plot.write_text(plot.draw(results))


def text(results: Results) -> str:
    """Return the page."""
    machine, course = results.machine, results.course
    engines = machine.get("servers") or f"SQLite {machine['sqlite']}"
    parts = [
        GENERATED,
        f"# {course.heading}",
        course.introduction,
        f"![Bars of all measures: Holdfast, its peers, the bare ceiling]({course.plot.name})",
        MACHINE.format(**machine, engines=engines, minutes=machine["seconds"] / 60),
        BUSY if machine["load_before"] > 1 or machine["others_percent"] > 5 else "",
        "## The goals",
        _table(["goal", "found", "wanted", "met"], _goals(results)),
        "## Who is measured",
        _table(["", "version", "run as", "what is durable", "isolation of tasks"], _who(results)),
        _trials(results),
        "## Where we lose",
        _losses(results),
        *_sections(results),
        "## Memory",
        MEMORY_IS,
        _figures(results, results.parts[MEMORY]),
        "## Repeat it",
        REPEAT.format(command=course.command),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _goals(results: Results) -> list[list[str]]:
    return [
        [goal.what, number(goal.value), bound(goal.bound, goal.at_least), yes(goal.met)]
        for goal in results.goals()
    ]


def _who(results: Results) -> list[list[str]]:
    names = ("title", "version", "setup", "durability", "isolation")
    return [[known.get(name, "") for name in names] for known in results.contestants.values()]


def _trials(results: Results) -> str:
    tried = [
        f"{known['title']} as {setup}: {number(rate)}"
        for known in results.contestants.values()
        for setup, rate in known.get("trials", {}).items()
    ]
    return f"Tried, in runs a second: {'; '.join(tried)}." if tried else ""


def _losses(results: Results) -> str:
    lines = []
    for (measure, unit), figures in by_measure(results.figures).items():
        ours = next((one for one in figures if one.contestant == HOLDFAST.key), None)
        if ours is None or unit in ("ratio", "MiB/s"):
            continue
        for other in figures:
            if other.contestant not in NO_PEERS and _beats(other, ours):
                title = results.contestants[other.contestant]["title"]
                pair = f"{number(other.median)} against {number(ours.median)} {unit}"
                lines.append(f"- {measure}: {title}, {pair}")
    return "\n".join(lines) or "Nowhere, in these measures."


def _beats(other: Figure, ours: Figure) -> bool:
    if other.unit in LESS_IS_BETTER:
        return other.median < ours.median
    return other.median > ours.median


def _sections(results: Results) -> list[str]:
    parts = []
    for name, module in results.course.measures.items():
        heading, _, about = (getdoc(module) or "").partition(": ")
        about = about[0].upper() + about[1:]
        parts += [f"## {heading}", about, _figures(results, results.parts[name])]
    return parts


def _figures(results: Results, figures: list[Figure]) -> str:
    rows = []
    for (measure, unit), found in by_measure(figures).items():
        if measure in tenths.IN_BETWEEN:
            continue
        named = measure
        for figure in found:
            title = results.contestants[figure.contestant]["title"]
            spread = f"{number(figure.low)} to {number(figure.high)}"
            middle = number(figure.median)
            rows.append([named, title, middle, unit, spread, to_ours(figure, found)])
            named = ""
    return _table(["measure", "who", "median", "unit", "least to most", "to ours"], rows)


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---" for _ in columns], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
