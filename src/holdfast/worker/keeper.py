"""Look after what is stored in the idle moments of a shipper, one small step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.errors import StoreUnavailable
from holdfast.core.events import DutyFailed, emit
from holdfast.worker.retention import LogRetention

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.core.config import RetentionSettings
    from holdfast.store import Store

_REST = 1.0  # a step of so long is followed by so many times its length without one
_BUSY_REST = 9.0  # the same while logs are on their way
_FAILED_SECONDS = 60.0  # before it is tried again
_IDLE_SECONDS = 2.0  # between looks when there is nothing to do


class Keeper:
    """Vacuum, delete, compact, give free pages back. Every worker does; the store decides who wins.

    It may be killed at any time. It never takes more than its share of the time, so that the
    logs on their way, and the tasks that write them, come first.
    """

    def __init__(self, store: Store, retention: RetentionSettings, clock: Clock) -> None:
        upkeep, retire = store.upkeep, LogRetention(store, retention, clock).run_once
        self._steps = (upkeep.sweep, retire, upkeep.compact, upkeep.give_back)
        self._vacuum = upkeep.vacuum
        self._clock = clock
        self._next = 0.0

    def run_once(self, *, busy: bool) -> bool:
        """Take a step if one is due, and tell whether there was anything to do.

        While the shipper is `busy` they are due more seldom, but a flood does not end them.
        """
        began = self._clock.monotonic()
        if began < self._next:
            return False
        try:
            vacuumed = self._vacuum()
            moved = any(step() for step in self._steps)  # the first one that has something to do
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a log that cannot be kept must not stop others
            emit(DutyFailed("upkeep", f"{type(error).__name__}: {error}"))
            self._next = began + _FAILED_SECONDS
            return False
        now = self._clock.monotonic()
        rest = (now - began) * (_BUSY_REST if busy else _REST)
        self._next = now + (rest if moved or vacuumed else _IDLE_SECONDS)
        return moved
