"""Wait so that one can be woken, and do what is due: the frame of the supervisor's loop."""

from __future__ import annotations

import os
import selectors
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import StoreUnavailable
from holdfast.core.events import DutyFailed, emit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from holdfast.core.clock import Clock

_REST_SECONDS = 1.0  # in which nobody asks a store that was away


class Waiter:
    """Wait for descriptors and signals; each has a function that is called when it is ready."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._wake.settimeout(0)
        self._woken.settimeout(0)
        self.watch(self._woken, self._drain)

    def watch(self, thing: Any, ready: Callable[[], object]) -> None:
        """Call a function whenever a descriptor is readable."""
        self._selector.register(thing, selectors.EVENT_READ, ready)

    def forget(self, thing: Any) -> None:
        """Watch a descriptor no longer."""
        self._selector.unregister(thing)

    def wait(self, seconds: float) -> None:
        """Sleep until something is ready or the time is over, and call what is to be called."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.fd in self._selector.get_map():  # not forgotten by a function before it
                key.data()

    def wake(self) -> None:
        """End the wait at once; another thread may call this."""
        with suppress(BlockingIOError):  # it is awake for sure
            self._wake.send(b".")

    def on_signals(self, numbers: Iterable[signal.Signals], act: Callable[[], None]) -> None:
        """Call a function in the main thread, outside of any handler, when a signal has come."""

        def note(_number: int, _frame: FrameType | None) -> None:
            act()

        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, note)

    def close(self) -> None:
        """Give everything back."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _drain(self) -> None:
        os.read(self._woken.fileno(), 4096)


@dataclass(slots=True)
class Duty:
    """Do something every so often; what it raises is said, and it is tried again."""

    name: str
    every: float  # seconds
    work: Callable[[], object]
    soon: float | None = None  # seconds, when the work has left some to do: it returned True
    due: float = 0.0  # monotonic
    asks_store: bool = True

    def run_if_due(self, clock: Clock) -> bool:
        """Do it when it is due, and set the next time; False when the store was away."""
        now = clock.monotonic()
        if now < self.due:
            return True
        self.due = now + self.every
        try:
            if self.work() is True and self.soon is not None:
                self.due = now + self.soon
        except StoreUnavailable:
            return False  # said once, where outcomes and claims meet the same store
        except Exception as error:  # noqa: BLE001 - a duty must not take the worker down
            emit(DutyFailed(self.name, f"{type(error).__name__}: {error}"))
        return True


class Duties(list[Duty]):
    """Do what is due, one after the other.

    It takes seconds to find out that a server does not answer. One duty does that for all others:
    they would hold up the loop in turn, and with it the time limits of attempts.
    """

    _ask_at = 0.0  # monotonic

    def do(self, clock: Clock) -> float:
        """Do what is due, and return when the next one is."""
        for duty in self:
            if duty.asks_store and clock.monotonic() < self._ask_at:
                continue
            if not duty.run_if_due(clock):
                self._ask_at = clock.monotonic() + _REST_SECONDS
        return min(max(duty.due, self._ask_at if duty.asks_store else 0.0) for duty in self)
