"""What differs between the bench on one store and on another: who, what, goals, page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import goals
from bench.contestants import BARE, FILE, HOLDFAST, PEERS
from bench.measures import bloat, drain, enqueue, growth, latency, logs, scaling, tenths
from bench.process import ROOT
from bench.rivals import BARE_POSTGRES, HOLDFAST_POSTGRES, RIVALS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from bench.contestants import Contestant
    from bench.goals import Goal
    from bench.results import Results

FOLDER = ROOT / "bench" / "results"
DOCS = ROOT / "docs"
EMBEDDED_INTRODUCTION = """\
Holdfast on SQLite beside its peers on SQLite and beside bare SQLite, all in one run, in turns,
on two cores. Each peer is tuned as its documentation says, and runs the way that was fastest in
a trial. Compare the ratios: the absolute figures are those of one machine."""
SERVED_INTRODUCTION = """\
Holdfast on PostgreSQL beside its peers on PostgreSQL, on Redis and on RabbitMQ, and beside bare
PostgreSQL, all in one run, in turns, on two cores that workers and servers share. Each peer is
tuned as its documentation says, and runs the way that was fastest in a trial. The servers are
private ones with their default settings: PostgreSQL syncs every commit, RabbitMQ keeps messages
on disk, Redis syncs nothing (no append-only file, a snapshot now and then). Compare the ratios:
the absolute figures are those of one machine."""


@dataclass(frozen=True)
class Course:
    """The bench on one store."""

    key: str  # of --store
    title: str
    heading: str
    introduction: str
    ours: Contestant
    peers: tuple[Contestant, ...]
    bare: Contestant
    measures: dict[str, ModuleType]
    goals: Callable[[Results], list[Goal]]
    name: str  # of its page
    results_name: str

    @property
    def everybody(self) -> list[Contestant]:
        """Return all who carry out runs."""
        return [self.ours, *self.peers]

    @property
    def by_key(self) -> dict[str, Contestant]:
        """Return all who are measured in any way."""
        return {one.key: one for one in (*self.everybody, self.bare, FILE)}

    @property
    def results(self) -> Path:
        """Return where the results of a whole run are kept."""
        return FOLDER / f"{self.results_name}.json"

    @property
    def page(self) -> Path:
        """Return the page that is written from them."""
        return DOCS / f"{self.name}.md"

    @property
    def plot(self) -> Path:
        """Return the plot that is drawn from them."""
        return DOCS / f"{self.name}.svg"

    @property
    def command(self) -> str:
        """Return the command that measures everything."""
        return "make bench" if self.key == "sqlite" else f"make bench STORE={self.key}"


SQLITE = Course(
    key="sqlite",
    title="SQLite",
    heading="How fast it is",
    introduction=EMBEDDED_INTRODUCTION,
    ours=HOLDFAST,
    peers=PEERS,
    bare=BARE,
    measures={
        "drain": drain,
        "enqueue": enqueue,
        "latency": latency,
        "growth": growth,
        "logs": logs,
        "tenths": tenths,
    },
    goals=goals.embedded,
    name="bench",
    results_name="sqlite",
)
POSTGRES = Course(
    key="postgresql",
    title="PostgreSQL",
    heading="How fast it is on PostgreSQL",
    introduction=SERVED_INTRODUCTION,
    ours=HOLDFAST_POSTGRES,
    peers=RIVALS,
    bare=BARE_POSTGRES,
    measures={
        "drain": drain,
        "enqueue": enqueue,
        "latency": latency,
        "scaling": scaling,
        "growth": growth,
        "bloat": bloat,
    },
    goals=goals.served,
    name="bench-postgres",
    results_name="postgres",
)
COURSES = {one.key: one for one in (SQLITE, POSTGRES)}
