"""Keep the disk of the spool from filling up: pause the attempts that write, and lose nothing."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.worker import proc
from holdfast.worker.disk import can_write_on, room_on
from holdfast.worker.gauge import SMALL, Gauge, Level
from holdfast.worker.plain import read_number
from holdfast.worker.spool import SHIPPED, folder_of, leases_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from holdfast.core.config import WorkerSettings
    from holdfast.worker.child import Child

_ALLOWED = {Level.FINE: float("inf"), Level.TIGHT: SMALL, Level.CRITICAL: 0}
_AROUND_SECONDS = 1.0  # between two looks at what ended attempts hold
_PATIENT = 20  # they may cost one part in so many of the time
_AT_WORK = 2  # attempts of an exclusive executor that may be writing; the rest waits


@dataclass(slots=True)
class Weight:
    """Say how much an executor has in the spool."""

    size: int = 0  # bytes that were written in all
    stored: int = 0  # of them

    @property
    def held(self) -> int:
        """Return how much is not stored yet.

        Blocks of the files say less: a file system may give a growing file many more.
        """
        return max(0, self.size - self.stored)

    def add_folder(self, folder: Path) -> None:
        """Add the files of an attempt; nothing when it has no folder."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                self.size += entry.stat(follow_symlinks=False).st_size
                if entry.name == SHIPPED:
                    self.stored += read_number(folder / SHIPPED)


class Guard:
    """Look at the spool and its disk; pause and continue the executors of attempts that write.

    It looks when the `Pump` asks it to, and in its thread.
    """

    def __init__(
        self,
        spool: Path,
        settings: WorkerSettings,
        children: Callable[[], Sequence[Child]],
        lock_holders: Callable[[], set[int]],
        wake: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._children = children
        self._lock_holders = lock_holders
        self._wake = wake
        self.gauge = Gauge(settings)
        self._sizes: dict[Child, int] = {}
        self._rest = 0  # held by attempts that no executor has any more
        self._writable = True
        self._next_look_around = 0.0

    def look(self) -> float:
        """Look once, do what follows, and return after how many seconds to look again."""
        present = list(self._children())
        for child in present:
            if child.paused and not child.outstanding:
                child.go_on()  # what it did had ended just before
        busy = [child for child in present if child.outstanding]
        weights = {child: self._weigh(child) for child in busy}
        self._look_around(busy)
        room = room_on(self._spool)._replace(writable=self._writable)
        held = self._rest + sum(weight.held for weight in weights.values())
        self.gauge.read(room, held)
        for child, weight in weights.items():
            self._treat(child, weight, grown=weight.size > self._sizes.get(child, 0))
        self._sizes = {child: weight.size for child, weight in weights.items()}
        return self.gauge.pause(room, held)

    def pause(self, child: Child) -> None:
        """Let an executor wait when it writes, unless others would have to wait for it then.

        One that waits within a transaction keeps everybody from the store, who makes room.
        """
        if not child.paused and not self._holds_lock(child):
            child.pause(self.gauge.reason)
            self._wake()

    def _treat(self, child: Child, weight: Weight, *, grown: bool) -> None:
        level = self.gauge.level
        excused = level is Level.TIGHT and any(held.asked for held in child.running)
        if child.paused:
            eased = level is Level.FINE or weight.held <= _ALLOWED[level] / 2 > 0
            if eased or excused or self._holds_lock(child):
                child.go_on()
        elif grown and weight.held > _ALLOWED[level] and not excused:
            self.pause(child)

    def _holds_lock(self, child: Child) -> bool:
        holders = self._lock_holders()
        return bool(holders) and not holders.isdisjoint((child.pid, *proc.descendants(child.pid)))

    def _weigh(self, child: Child) -> Weight:
        weight = Weight()
        leases = [held.lease for held in list(child.outstanding)]
        if not child.shared:
            del leases[_AT_WORK:]
        for lease in leases:
            weight.add_folder(folder_of(self._spool, lease))
        return weight

    def _look_around(self, busy: Collection[Child]) -> None:
        """Look from time to time at what is not urgent, or costs more."""
        began = time.monotonic()
        if began < self._next_look_around:
            return
        known = {held.lease for child in busy for held in list(child.outstanding)}
        rest = Weight()
        for lease in leases_in(self._spool):
            if lease not in known:
                rest.add_folder(folder_of(self._spool, lease))
        self._rest = rest.held
        if busy or not self._writable:
            self._writable = can_write_on(self._spool)
        now = time.monotonic()
        self._next_look_around = now + max(_AROUND_SECONDS, _PATIENT * (now - began))
