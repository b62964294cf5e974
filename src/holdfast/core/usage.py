"""Keep what an attempt took of memory and processors over time, in a bounded number of points."""

from __future__ import annotations

import msgspec

MOST_POINTS = 120
FIRST_PAUSE = 1.0  # seconds; it doubles whenever there are too many points
_LATE = 0.05  # seconds by which a look may come early and still end its point


class Usage(msgspec.Struct, frozen=True):
    """Hold the memory and the processors that the processes of an attempt took over time."""

    every: float  # seconds from one point to the next
    memory: list[int]  # bytes held in RAM, the most in each span
    cpu: list[float]  # processors kept busy, the mean of each span: 1 is one processor


class Series:
    """Make the usage of one attempt out of looks at it, however many there are."""

    def __init__(self) -> None:
        self._every = FIRST_PAUSE
        self._memory: list[int] = []
        self._cpu: list[float] = []
        self._since: float | None = None  # when the span began that is not over yet
        self._most = 0
        self._cpu_before = 0.0

    def look(self, at: float, memory: int, cpu: float) -> None:
        """Add a look: seconds on any clock, bytes held, seconds of CPU since any start."""
        self._most = max(self._most, memory)
        if self._since is None:
            self._since, self._cpu_before = at, cpu
            return
        span = at - self._since
        if span < self._every - _LATE:
            return
        self._memory.append(self._most)
        self._cpu.append(round(max(0.0, cpu - self._cpu_before) / span, 2))
        self._since, self._most, self._cpu_before = at, memory, cpu
        if len(self._memory) == MOST_POINTS:
            self._halve()

    def _halve(self) -> None:
        self._every *= 2
        self._memory = [max(pair) for pair in zip(*[iter(self._memory)] * 2, strict=True)]
        self._cpu = [round(sum(pair) / 2, 2) for pair in zip(*[iter(self._cpu)] * 2, strict=True)]

    def usage(self) -> Usage | None:
        """Return the points so far; None when there are too few to show a course."""
        if len(self._memory) <= 1:
            return None
        return Usage(self._every, list(self._memory), list(self._cpu))
