"""Keep what one run of the bench has found, and hold it against the goals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.contestants import HOLDFAST
from bench.figures import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from bench.contestants import Contestant
    from bench.course import Course
    from bench.goals import Goal
    from bench.ring import Ring

MEMORY = "memory"


@dataclass(frozen=True)
class Results:
    """One run of the bench."""

    course: Course
    machine: dict[str, Any]
    contestants: dict[str, dict[str, Any]]
    parts: dict[str, list[Figure]]  # by the name of the measure that found them

    @classmethod
    def of(cls, ring: Ring, machine: dict[str, Any], parts: dict[str, list[Figure]]) -> Results:
        """Return the results of what was measured in a ring."""
        shown = {figure.contestant for figures in parts.values() for figure in figures}
        known = ring.course.by_key
        contestants = {key: _described(one, ring) for key, one in known.items() if key in shown}
        return cls(ring.course, machine, contestants, {**parts, MEMORY: _memory(ring)})

    @classmethod
    def load(cls, course: Course, path: Path | None = None) -> Results:
        """Return the results that a file keeps, else those of the last whole run."""
        record = json.loads((path or course.results).read_text())
        parts = {
            part: [Figure.from_json(one) for one in figures]
            for part, figures in record["figures"].items()
        }
        return cls(course, record["machine"], record["contestants"], parts)

    def save(self, path: Path | None = None) -> None:
        """Keep the results in a file."""
        path = path or self.course.results
        record = {
            "machine": self.machine,
            "contestants": self.contestants,
            "goals": [{**vars(goal), "met": goal.met} for goal in self.goals()],
            "figures": {
                part: [figure.as_json() for figure in figures]
                for part, figures in self.parts.items()
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")

    @property
    def figures(self) -> list[Figure]:
        """Return all figures, in the order in which they were measured."""
        return [figure for figures in self.parts.values() for figure in figures]

    def get(self, measure: str, contestant: str = HOLDFAST.key) -> Figure | None:
        """Return one figure, if it was measured."""
        wanted = (measure, contestant)
        return next((one for one in self.figures if (one.measure, one.contestant) == wanted), None)

    def goals(self) -> list[Goal]:
        """Return those goals for which all was measured."""
        return self.course.goals(self)


def _described(one: Contestant, ring: Ring) -> dict[str, Any]:
    known: dict[str, Any] = {"title": one.title}
    known |= {"durability": one.durability, "isolation": one.isolation}
    if one.package:
        known["version"] = one.version
    if one.setups:
        known["setup"] = ring.setup_of(one)
    if one.key in ring.trials:
        known["trials"] = {name: round(rate) for name, rate in ring.trials[one.key].items()}
    return known


def _memory(ring: Ring) -> list[Figure]:
    measures = (("peak memory, main process", ring.peaks), ("memory, all processes", ring.memory))
    return [
        Figure(measure, one.key, "MB", (of[one.key] / 1e6,))
        for measure, of in measures
        for one in ring.course.everybody
        if one.key in of
    ]
