"""Decide when a worker looks for runs, and how many it takes."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from holdfast.store.claiming import CLAIM_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.models import Claim
    from holdfast.worker.desk import Desk
    from holdfast.worker.gauge import Gauge
    from holdfast.worker.pool import Pool


class Appetite:
    """Follow the room of the executors, and the memory of what was claimed for them."""

    def __init__(self, pool: Pool, desk: Desk, gauge: Gauge, poll_seconds: float) -> None:
        self._pool = pool
        self._desk = desk
        self._gauge = gauge
        self._poll_seconds = poll_seconds
        self.hungry = True  # there may be more to claim
        self.again_at = inf  # monotonic; when what nobody rang for is there
        self._next_poll = 0.0  # monotonic
        self._is_heavy = False  # the arguments of what was claimed last are large

    def rung(self, now: float, again_after: float | None) -> None:
        """Get hungry, and once more so many seconds later."""
        self.hungry = True
        if again_after is not None:
            self.again_at = min(self.again_at, now + again_after)

    def look(self, now: float) -> None:
        """Get hungry when it is time, or when there are more executors than before."""
        due = now >= min(self._next_poll, self.again_at)
        self.hungry = self._pool.has_grown() or self.hungry or due
        if now >= self.again_at:
            self.again_at = inf

    def took(self, claims: Sequence[Claim], now: float) -> None:
        """Note what was claimed: where some were, more may be."""
        self.hungry = bool(claims)
        self._is_heavy = sum(len(claim.arguments) for claim in claims) > CLAIM_BYTES / 2
        self._next_poll = now + self._poll_seconds

    def wanted(self) -> dict[bool, int]:
        """Return how many runs exclusive (False) and shared (True) executors have room for."""
        if self._gauge.is_critical or (self._is_heavy and self._weight() > CLAIM_BYTES):
            return {}
        room = self._pool.room()
        for held in self._desk.backlog:
            room[self._pool.shares(held)] -= 1
        return {shared: max(0, count) for shared, count in room.items()}

    def _weight(self) -> int:
        """Return how many characters of arguments are held here."""
        held = (*self._pool.held(), *self._desk.backlog)
        return sum(len(one.claim.arguments) for one in held)
