"""Hold the two processes beside a supervisor: its heart and its shipper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.worker.heartbeat import ALIVE, GOODBYE, HeartbeatSetup
from holdfast.worker.shipper import ShipperSetup
from holdfast.worker.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.core.clock import Clock
    from holdfast.core.config import Settings
    from holdfast.core.ids import WorkerId
    from holdfast.worker.loop import Waiter


class Sidecars:
    """Start them, keep them alive, and let them end."""

    def __init__(
        self, settings: Settings, worker_id: WorkerId, spool: Path, waiter: Waiter
    ) -> None:
        worker, store = settings.worker, settings.store
        self._beat = HeartbeatSetup(
            store, worker_id, worker.beat_seconds, worker.lease_seconds, str(spool)
        )
        self._ship = ShipperSetup(store, str(spool), settings.retention, settings.secrets)
        self._waiter = waiter
        self._all: tuple[Sidecar, ...] = ()

    def start_heart(self, pids: set[int], fenced: Callable[[], None]) -> None:
        """Start the heart; its pid is noted among the others, `fenced` is called by it."""
        self._heart = Sidecar(
            "holdfast.worker.heartbeat", self._beat, self._waiter, pids, lambda _: fenced()
        )
        self._all = (self._heart,)

    def start_shipper(self, pids: set[int]) -> None:
        """Start the shipper; later, because nothing waits for it, and executors start meanwhile."""
        shipper = Sidecar("holdfast.worker.shipper", self._ship, self._waiter, pids, lambda _: None)
        self._all = (shipper, self._heart)

    @property
    def ready(self) -> bool:
        """Tell whether beats can be counted."""
        return self._heart.ready

    def say_alive(self) -> None:
        """Give the heart a sign of life."""
        self._heart.say(ALIVE)

    def revive(self) -> None:
        """Start again what has died."""
        for sidecar in self._all:
            sidecar.revive()

    def close(self) -> None:
        """Let both end; the shipper takes the time to send what is finished."""
        for sidecar in self._all:
            sidecar.close(GOODBYE if sidecar is self._heart else b"")

    def wait(self, until: float, clock: Clock) -> None:
        """Wait for their end until a monotonic time, and then kill them."""
        for sidecar in self._all:
            sidecar.wait(max(0.0, until - clock.monotonic()))
