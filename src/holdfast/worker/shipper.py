"""Ship the spool to the store: a process of its own, which may die at any time.

Everything it knows stands in the files and in the store, so the next one continues where the
stored log ends.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.clock import Clock, SystemClock
from holdfast.core.config import RetentionSettings, StoreSettings, secret_values
from holdfast.core.errors import StoreUnavailable
from holdfast.core.events import LogsAway, LogsBack, LogStuck, emit
from holdfast.core.masking import Mask
from holdfast.core.models import LogChunk, LogEnd, Stream
from holdfast.store import open_store
from holdfast.worker.beside import speak_through_supervisor
from holdfast.worker.calendar import Calendar
from holdfast.worker.keeper import Keeper
from holdfast.worker.secrets import Record, masked
from holdfast.worker.spool import (
    HEADER,
    LONGEST_RECORD,
    MAGIC,
    folder_of,
    is_record,
    leases_in,
)
from holdfast.worker.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.core.models import Lease
    from holdfast.store.logs import Logs
    from holdfast.worker.tail import Source

CHUNK = 1 << 16  # bytes in one row
WINDOW = 2 * CHUNK  # bytes of records that are read at once
BATCH = 4 << 20  # bytes in one transaction
MOST_TAILS = 2000  # logs that are looked after at once
_LEAST = 1 << 10  # bytes of a batch that the shortest chunk takes
WATCHED_SECONDS = 0.1  # how long output may wait when somebody looks
UNWATCHED_SECONDS = 1.0
_ACTIVE, _QUIET, _IDLE = 0.02, 0.05, 0.1  # seconds between looks: see `main`
_QUIET_AFTER = 2.0  # seconds without output
_LOOK_FOR_VIEWERS = 0.25
_ASIDE_SECONDS = 1.0  # how long a log that makes trouble is left alone
_PATIENCE = 5.0  # seconds to get finished logs out when asked to end


_Piece = tuple[Stream, bytes, int, int]  # stream, text, offset after it, time


class ShipperSetup(msgspec.Struct, frozen=True):
    """Tell the process what to ship where: one line of JSON on its standard input."""

    store: StoreSettings
    spool: str
    retention: RetentionSettings
    secrets: tuple[str, ...]  # names of variables; their values are in the environment


class Shipper:
    """Move what attempts wrote from the spool into the store, all attempts in one transaction."""

    def __init__(self, logs: Logs, spool: Path, clock: Clock, known: Mask) -> None:
        self._known = known
        self._logs = logs
        self._spool = spool
        self._clock = clock
        self._tails: dict[Lease, Tail] = {}
        self._aside: dict[Lease, float] = {}  # logs that make trouble -> when to try again
        self._watched: set[str] = set()
        self._next_look = 0.0
        self._turn = 0

    @property
    def active(self) -> bool:
        """Tell whether there is any log on its way."""
        return bool(self._tails)

    def run_once(self) -> int:
        """Ship what is due and return how many bytes; raises StoreUnavailable, losing nothing."""
        now = self._clock.monotonic()
        self._find(now)
        chunks: dict[Lease, list[LogChunk]] = {}
        ends: dict[Lease, LogEnd] = {}
        budget = BATCH
        share = max(CHUNK, BATCH // max(1, len(self._tails)))  # no flood keeps the others waiting
        for tail in self._in_turn():
            try:
                if not tail.look():
                    del self._tails[tail.lease]
                    continue
                read = self._read(tail, now, min(budget, share))
                if (end := tail.end()) is not None:
                    ends[tail.lease] = end
            except OSError as error:
                self._set_aside(tail.lease, error)
                continue
            if read:
                chunks[tail.lease] = read
            budget -= sum(map(_cost, read)) + (_LEAST if tail.ended else 0)
            if budget <= 0:
                break
        self._store(chunks, ends)
        return BATCH - budget

    def forget(self) -> None:
        """Forget how far the logs are stored: the store is asked again."""
        self._tails.clear()

    def _in_turn(self) -> list[Tail]:
        """Return the logs, another one first each time."""
        tails = list(self._tails.values())
        self._turn = (self._turn + 1) % max(1, len(tails))
        return tails[self._turn :] + tails[: self._turn]

    def _find(self, now: float) -> None:
        """Take up logs that are new, never too many at once, however many wait."""
        if len(self._tails) >= MOST_TAILS:
            self._tails = {lease: tail for lease, tail in self._tails.items() if not tail.quiet}
        room = MOST_TAILS - len(self._tails)
        found = [lease for lease in leases_in(self._spool) if room and lease not in self._tails]
        for lease in random.sample(found, room) if len(found) > room else found:
            if self._aside.get(lease, 0.0) <= now:
                folder, position = folder_of(self._spool, lease), self._logs.position(lease)
                tail = Tail(lease, folder, position, self._known)
                if tail.position.ended:  # a shipper died before it had removed the folder
                    self._remove(tail)
                else:
                    self._tails[lease] = tail
        if self._tails and now >= self._next_look:
            self._watched = set(self._logs.watched())
            self._next_look = now + _LOOK_FOR_VIEWERS

    def _read(self, tail: Tail, now: float, budget: int) -> list[LogChunk]:
        watched = tail.lease.run_id in self._watched
        patience = WATCHED_SECONDS if watched else UNWATCHED_SECONDS
        chunks: list[LogChunk] = []
        waiting = [source for source in tail.sources if source.unsent]
        for source in waiting:
            rest = budget // len(waiting)
            while rest > 0 and self._is_due(tail, source, now, patience):
                read = list(self._chunks(tail, source))
                if not read:
                    break
                chunks += read
                rest -= sum(map(_cost, read))
                source.waiting_since = now if source.unsent else None
        return chunks

    def _is_due(self, tail: Tail, source: Source, now: float, patience: float) -> bool:
        unsent = source.unsent
        if not unsent:
            return False
        if source.waiting_since is None:
            source.waiting_since = now
        return tail.ended or unsent >= CHUNK or now - source.waiting_since >= patience

    def _chunks(self, tail: Tail, source: Source) -> Iterator[LogChunk]:
        pieces = self._records if source.number == 0 else self._bytes
        for stream, data, end, at in pieces(tail, source):
            size, lines, crc = tail.position[:3]
            newlines = data.count(b"\n")
            total = zlib.crc32(data, crc)
            chunk = LogChunk(size, lines, newlines, stream, source.number, end, at, total, data)
            tail.position = tail.position._replace(
                size=size + len(data), lines=lines + newlines, crc=total
            )
            source.offset = end
            yield chunk

    def _bytes(self, tail: Tail, source: Source) -> Iterator[_Piece]:
        data = source.read(CHUNK)
        cut = data.rfind(b"\n") + 1
        if cut and not (tail.ended and len(data) < CHUNK):
            data = data[:cut]  # whole lines, so that two streams do not meet within one
        end = source.offset + len(data)
        if mask := tail.mask():
            certain = end - mask.open_end(data)
            is_full = len(data) == CHUNK and certain == source.offset
            if certain < end and not is_full and not self._is_last(tail, source, end, certain):
                end = certain
            data = mask.apply(data[: end - source.offset])
        if data:
            yield Stream(source.number), data, end, self._clock.now()

    def _records(self, tail: Tail, source: Source) -> Iterator[_Piece]:
        """Yield the texts of whole records, those of one stream in a row joined."""
        data = source.read(WINDOW)
        skipped = _damage(data)
        if skipped:
            tail.note_hole(source.offset, skipped)
            source.offset += skipped
            data = data[skipped:]
        whole = tail.ended and skipped + len(data) < WINDOW
        records = list(_parse(data, source.offset, torn=whole))
        if whole and not skipped and not any(text for _, text, _, _ in records):
            source.offset += len(data)  # a header without text: nothing was written
        elif mask := tail.mask():
            yield from _joined(self._masked(tail, source, records, mask, whole=whole))
        else:
            yield from _joined(records)

    def _masked(
        self, tail: Tail, source: Source, records: list[Record], mask: Mask, *, whole: bool
    ) -> list[Record]:
        """Return records without secrets, and without those that have to wait for what follows."""
        found = masked(records, mask, to_the_end=whole)
        if found or not records:
            return found
        end = records[-1][2]
        is_full = end - source.offset > WINDOW - LONGEST_RECORD - HEADER.size
        if is_full or self._is_last(tail, source, end, source.offset):
            return masked(records[:1], mask, to_the_end=True)  # the others may still wait
        return found

    def _is_last(self, tail: Tail, source: Source, end: int, certain: int) -> bool:
        """Tell whether what may be half a secret will not be completed, or not in time."""
        if tail.ended and end >= source.size:
            return True
        return source.is_held_too_long(certain, self._clock.monotonic())

    def _store(self, chunks: dict[Lease, list[LogChunk]], ends: dict[Lease, LogEnd]) -> None:
        if not chunks and not ends:
            return
        self._logs.append(chunks, ends)
        for lease in ends:
            self._remove(self._tails.pop(lease))
        for lease in chunks.keys() - ends.keys():
            self._tails[lease].free()

    def _remove(self, tail: Tail) -> None:
        try:
            shutil.rmtree(tail.folder)
        except OSError as error:
            self._set_aside(tail.lease, error)
        else:
            self._aside.pop(tail.lease, None)

    def _set_aside(self, lease: Lease, error: OSError) -> None:
        """Leave a log whose files make trouble alone for a while: the others go on."""
        if lease not in self._aside:
            emit(LogStuck(*lease, str(error)))
        self._aside[lease] = self._clock.monotonic() + _ASIDE_SECONDS
        self._tails.pop(lease, None)


def _cost(chunk: LogChunk) -> int:
    """Return what a chunk takes of a batch: a row of its own is not free, however short."""
    return max(len(chunk.data), _LEAST)


def _damage(data: bytes) -> int:
    """Return how many bytes at the beginning are no record."""
    at = 0
    while at < len(data) and not is_record(data, at):
        found = data.find(MAGIC, at + 1)
        at = len(data) if found < 0 else found
    return at


def _joined(records: Iterable[Record]) -> Iterator[_Piece]:
    """Yield the texts of records, those of one stream in a row as one, up to a chunk."""
    texts: list[bytes] = []
    stream = size = end = at = 0
    for kind, text, record_end, time in records:
        if text and texts and (kind != stream or size + len(text) > CHUNK):
            yield Stream(stream), b"".join(texts), end, at
            texts, size = [], 0
        if text:
            stream, at = kind, time
            texts.append(text)
            size += len(text)
        end = record_end
    if texts:
        yield Stream(stream), b"".join(texts), end, at


def _parse(data: bytes, offset: int, *, torn: bool) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield (stream, text, offset after it, time) of each record.

    The last one may be incomplete: it is still being written, or, when `torn`, its writer was
    killed within write(2), and what is there of it is all there will be.
    """
    at = 0
    while at + HEADER.size <= len(data) and is_record(data, at):
        _, stream, length, time = HEADER.unpack_from(data, at)
        text = data[at + HEADER.size : at + HEADER.size + length]
        if len(text) < length and not torn:
            return
        at += HEADER.size + len(text)
        yield stream, text, offset + at, time


def main() -> None:
    """Start as ``python -m holdfast.worker.shipper``; ends when standard input does."""
    speak_through_supervisor("shipper")
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=ShipperSetup)
    clock = SystemClock()
    store = open_store(setup.store, clock)
    known = Mask(secret_values(setup.secrets).values())
    shipper = Shipper(store.logs, Path(setup.spool), clock, known)
    calendar = Calendar(store.workers, Path(setup.spool).name, clock)
    keeper = Keeper(store, setup.retention, calendar)
    moved, last, pause, away = 0.0, None, _IDLE, False
    while last is None or (shipper.active and clock.monotonic() < last):
        try:
            shipped = shipper.run_once()
            moved = clock.monotonic() if shipped else moved
            quiet = clock.monotonic() - moved > _QUIET_AFTER
            pause = _IDLE if not shipper.active else _QUIET if quiet else _ACTIVE
            busy = shipped >= CHUNK
            kept = last is None and keeper.run_once(busy=busy)
            pause = 0.0 if busy or kept else pause
            if away:
                emit(LogsBack())
            away = False
        except StoreUnavailable as error:
            shipper.forget()
            pause = min(1.0, pause + 0.1)
            if not away:
                emit(LogsAway(error.problem))
            away = True
        if last is not None:
            select.select([], [], [], pause)
        elif select.select([sys.stdin], [], [], pause)[0] and not os.read(0, 4096):
            last = clock.monotonic() + _PATIENCE


if __name__ == "__main__":
    main()
