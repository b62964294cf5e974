"""Tenths: what each tenth of one log of 10,000,000 lines costs, to store and to read.

When a tenth is stored is seen by asking for its last byte. Reading is timed after the end, by
byte offset, first and last tenth in turns.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.contestants import HOLDFAST
from bench.figures import Figure
from bench.measures.logs import WITHIN_SECONDS, flood_command, logging_app, wait_complete
from bench.players import flood
from bench.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Ring
    from holdfast import Run

TENTHS = 10
READINGS = 5
IN_BETWEEN = {f"store a line, tenth {number}" for number in range(2, TENTHS)}  # for the plot


def run(ring: Ring, plan: Plan, _others: list[Contestant]) -> list[Figure]:
    """Return nanoseconds for each line of each tenth, and how the last relates to the first."""
    stored: list[list[float]] = []
    read: list[tuple[float, float]] = []
    for _ in range(plan.long_logs):
        with logging_app(ring) as app:
            run = app.run_command(flood_command("write", plan.long_lines))
            stored.append(store_times(run, plan.long_lines))
            wait_complete(app, run, plan.long_lines)
            read += [read_times(run, plan.long_lines) for _ in range(READINGS)]
    figures: dict[str, tuple[str, Iterable[float]]] = {
        f"store a line, tenth {number}": ("ns", of)
        for number, of in enumerate(zip(*stored, strict=True), 1)
    }
    figures["store: last tenth to first"] = ("ratio", [one[-1] / one[0] for one in stored])
    first, last = zip(*read, strict=True)
    figures["read a line, first tenth"] = ("ns", first)
    figures["read a line, last tenth"] = ("ns", last)
    figures["read: last tenth to first"] = ("ratio", [b / a for a, b in read])
    return [
        Figure(measure, HOLDFAST.key, unit, tuple(values))
        for measure, (unit, values) in figures.items()
    ]


def store_times(run: Run, lines: int) -> list[float]:
    """Return nanoseconds for each line of each tenth, from when the one before was stored."""
    tenth = lines // TENTHS * flood.LINE
    seen = []
    for end in [1, *(tenth * number for number in range(1, TENTHS + 1))]:
        wait_until(
            partial(_is_stored, run, end - 1),
            within=WITHIN_SECONDS,
            what=f"byte {end:,} is stored",
            pause=0.005,
        )
        seen.append(time.perf_counter_ns())
    return [(after - before) / (lines // TENTHS) for before, after in pairwise(seen)]


def _is_stored(run: Run, offset: int) -> bool:
    return next(run.log_chunks(1, offset=offset), None) is not None


def read_times(run: Run, lines: int) -> tuple[float, float]:
    """Return nanoseconds to read a line of the first tenth and of the last."""
    tenth = lines // TENTHS * flood.LINE
    return _read(run, 0, tenth), _read(run, tenth * (TENTHS - 1), tenth)


def _read(run: Run, offset: int, size: int) -> float:
    began = time.perf_counter_ns()
    got = 0
    for chunk in run.log_chunks(1, offset=offset):
        got += len(chunk.data)
        if got >= size:
            break
    assert got >= size, "bytes are missing"
    return (time.perf_counter_ns() - began) / (got / flood.LINE)
