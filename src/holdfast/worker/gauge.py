"""Judge from what the spool holds, and from what its disk has left, how tight it is."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from holdfast.core.units import show_bytes

if TYPE_CHECKING:
    from holdfast.core.config import WorkerSettings
    from holdfast.worker.disk import Room

SMALL = 8 << 20  # bytes that an attempt may have on their way whatever the others do
_FEW_INODES = 64
_EASED = 0.2  # by how much it must be better before it counts as better
_RATE = 4 << 30  # bytes in a second: faster no processes fill a page cache
_CLOSEST, _CLOSE, _WIDEST = 0.005, 0.05, 0.5  # seconds between two looks


class Level(IntEnum):
    """Say how tight it is, and so how much an attempt may have in the spool."""

    FINE = 0  # as much as it likes
    TIGHT = 1  # little: the spool is over its budget, or the disk below its reserve
    CRITICAL = 2  # nothing more: the disk is nearly full, and nothing new is begun


class Gauge:
    """Follow one spool from look to look."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.level = Level.FINE
        self.reason = ""  # why it is not fine

    @property
    def is_critical(self) -> bool:
        """Tell whether nothing new may be begun."""
        return self.level is Level.CRITICAL

    def read(self, room: Room, held: int) -> Level:
        """Judge; it gets better only where it is clearly better, so that it does not waver."""
        level, reason = self._judge(room, held, slack=0.0)
        if level < self.level:
            level, better = self._judge(room, held, slack=_EASED)
            level, reason = min(level, self.level), better
        self.level, self.reason = level, reason
        return level

    def pause(self, room: Room, held: int) -> float:
        """Return after how many seconds to look again: before it can have become worse."""
        keep = self._keep_free(room)
        if self.level is Level.FINE:
            left = min(self._settings.spool_max_bytes - held, room.free - keep)
            return min(_WIDEST, max(_CLOSEST, left / _RATE))
        return min(_CLOSE, max(_CLOSEST, (room.free - keep // 4) / _RATE))

    def _keep_free(self, room: Room) -> int:
        return self._settings.keep_free(room.total) if room.total else 0

    def _judge(self, room: Room, held: int, slack: float) -> tuple[Level, str]:
        budget = self._settings.spool_max_bytes
        keep = self._keep_free(room)
        has = f"the disk of its worker's logs has {show_bytes(room.free)} free"
        if not room.writable:
            return Level.CRITICAL, "the disk of its worker's logs can only be read"
        if room.inodes_free < min(_FEW_INODES, room.inodes // 16) * (1 + slack):
            return Level.CRITICAL, "the disk of its worker's logs has no inodes left"
        if room.free < keep / 4 * (1 + slack):
            return Level.CRITICAL, f"{has}, too little to write on"
        if room.free < keep * (1 + slack):
            return Level.TIGHT, f"{has}, and {show_bytes(keep)} are kept free"
        if held > budget * (1 - slack):
            has = f"its worker has {show_bytes(held)} of logs that are not stored yet"
            return Level.TIGHT, f"{has}, and {show_bytes(budget)} are allowed"
        return Level.FINE, ""
