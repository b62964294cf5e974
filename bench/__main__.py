"""Measure Holdfast beside its peers, and the bare ceiling, in one run on one kind of store.

A whole run keeps its results in bench/results and writes a page in docs and its plot from them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import facts, page, table
from bench.contestants import CORES, Contestant
from bench.course import COURSES, Course
from bench.plan import QUICK, Plan
from bench.process import BenchError
from bench.results import Results
from bench.ring import Ring

if TYPE_CHECKING:
    from bench.figures import Figure

ALL_MEASURES = list(dict.fromkeys(name for one in COURSES.values() for name in one.measures))
ALL_KEYS = list(dict.fromkeys(one.key for course in COURSES.values() for one in course.everybody))


def main() -> None:
    """Measure what is asked for and show it."""
    options = _options()
    course = COURSES[options.store]
    if options.page:
        page.write(Results.load(course))
        return
    plan = QUICK if options.quick else Plan()
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    results = measure(
        course,
        plan,
        _contestants(course, options.who),
        _measures(course, options.only),
        options.folder,
    )
    table.show(results)
    if options.json:
        results.save(options.json)
    if not (options.only or options.who or options.quick):
        results.save()
        page.write(Results.load(course))


def measure(
    course: Course, plan: Plan, contestants: list[Contestant], names: list[str], folder: Path | None
) -> Results:
    """Return what some measures find."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    parts: dict[str, list[Figure]] = {}
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as name,
        Ring(Path(name), course) as ring,
    ):
        machine = facts.machine(ring.folder)
        others = facts.Others()
        for one in names:
            print(f"{time.monotonic() - began:4.0f} s  {one}", file=sys.stderr, flush=True)
            parts[one] = course.measures[one].run(ring, plan, contestants)
        machine["servers"] = ", ".join(f"{of} {which}" for of, which in ring.versions().items())
    machine["others_percent"] = others.percent()  # the servers have ended and count as ours
    machine["seconds"] = round(time.monotonic() - began)
    return Results.of(ring, machine, parts)


def _contestants(course: Course, keys: list[str] | None) -> list[Contestant]:
    chosen = [one for one in course.everybody if not keys or one.key in keys]
    for one in chosen:
        one.require()
    return chosen


def _measures(course: Course, names: list[str] | None) -> list[str]:
    return [name for name in course.measures if not names or name in names]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=ALL_MEASURES, help="measure this alone")
    parser.add_argument("--who", action="append", choices=ALL_KEYS, help="measure these alone")
    parser.add_argument("--store", choices=COURSES, default="sqlite", help="on which store")
    parser.add_argument("--rounds", type=int, help="how often; the median counts")
    parser.add_argument("--quick", action="store_true", help="a rough look, in seconds")
    parser.add_argument("--folder", type=Path, help="where the stores are made; else TMPDIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results here too")
    parser.add_argument("--page", action="store_true", help="only write the page, from results")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench: {error}")
