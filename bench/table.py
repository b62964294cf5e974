"""Show results in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.contestants import HOLDFAST
from bench.figures import by_measure
from bench.measures.tenths import IN_BETWEEN

if TYPE_CHECKING:
    from bench.figures import Figure
    from bench.results import Results

WIDTH = 110


def show(results: Results) -> None:
    """Print the figures, then the goals."""
    console = Console()
    console = Console(width=max(WIDTH, console.width))
    console.print(_figures(results))
    if results.goals():
        console.print(_goals(results))


def _figures(results: Results) -> Table:
    table = _table(["measure", "unit", "who"], ["median", "least", "most", "to ours"])
    for (measure, unit), figures in by_measure(results.figures).items():
        if measure in IN_BETWEEN:
            continue
        table.add_section()
        named = (measure, unit)
        for figure in figures:
            table.add_row(
                *named,
                results.contestants[figure.contestant]["title"],
                *(number(value) for value in (figure.median, figure.low, figure.high)),
                to_ours(figure, figures),
            )
            named = ("", "")
    known = results.contestants.values()
    setups = [f"{one['title']}: {one['setup']}" for one in known if "setup" in one]
    table.caption = "; ".join(setups)
    return table


def _goals(results: Results) -> Table:
    table = _table(["goal"], ["found", "wanted", "met"])
    for goal in results.goals():
        table.add_row(
            goal.what, number(goal.value), bound(goal.bound, goal.at_least), yes(goal.met)
        )
    return table


def _table(left: list[str], right: list[str]) -> Table:
    table = Table()
    for column in left:
        table.add_column(column, no_wrap=True)
    for column in right:
        table.add_column(column, no_wrap=True, justify="right")
    return table


def to_ours(figure: Figure, figures: list[Figure]) -> str:
    """Say how a figure relates to that of Holdfast."""
    ours = next((one.median for one in figures if one.contestant == HOLDFAST.key), 0.0)
    if not ours or figure.contestant == HOLDFAST.key or figure.unit == "ratio":
        return ""
    return f"{figure.median / ours:.2f}"


def bound(value: float, at_least: bool) -> str:  # noqa: FBT001 - the field of a goal
    """Write a bound."""
    return f"{'at least' if at_least else 'at most'} {number(value)}"


def yes(met: bool) -> str:  # noqa: FBT001 - the property of a goal
    """Write whether a goal is met."""
    return "yes" if met else "no"


def number(value: float) -> str:
    """Write a value with as many digits as mean something."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
