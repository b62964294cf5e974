"""Tell the time: stored times and waiting times are different things."""

from __future__ import annotations

import time
from typing import Protocol

SECOND = 1_000_000  # microseconds: the unit of every stored time


class Clock(Protocol):
    """Give the two kinds of time that Holdfast knows."""

    def now(self) -> int:
        """Return the time of day in microseconds since 1970, UTC. Stored, never subtracted."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards. Waited on."""
        ...


class SystemClock:
    """Read the clocks of this machine."""

    def now(self) -> int:
        """Return the time of day in microseconds since 1970, UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""
        return time.monotonic()


class FixedClock:
    """Stand still until told to move: for tests."""

    def __init__(self, now: int = 1_800_000_000 * SECOND) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> int:
        """Return the time it was set to, in microseconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds it was advanced by."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both times forward."""
        self._now += int(seconds * SECOND)
        self._monotonic += seconds
