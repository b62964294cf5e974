"""Ship the spool to the store: a process of its own, which may die at any time.

Everything it knows stands in the files and in the store, so the next one continues where the
stored log ends.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.clock import Clock, SystemClock
from holdfast.core.config import StoreSettings
from holdfast.core.errors import StoreUnavailable
from holdfast.core.models import LogChunk, LogEnd, LogPosition, Stream
from holdfast.store import open_store
from holdfast.worker.spool import END, HEADER, MAGIC, SOURCES, folder_of, leases_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.core.models import Lease
    from holdfast.store.logs import Logs

CHUNK = 1 << 16  # bytes in one row
BATCH = 4 << 20  # bytes in one transaction
WATCHED_SECONDS = 0.1  # how long output may wait when somebody looks
UNWATCHED_SECONDS = 1.0
_ACTIVE, _QUIET, _IDLE = 0.02, 0.05, 0.1  # seconds between looks: see `main`
_QUIET_AFTER = 2.0  # seconds without output
_LOOK_FOR_VIEWERS = 0.25
HOLES = "holes"  # file of a folder whose record file was damaged
_PATIENCE = 5.0  # seconds to get finished logs out when asked to end


class ShipperSetup(msgspec.Struct, frozen=True):
    """Tell the process what to ship where: one line of JSON on its standard input."""

    store: StoreSettings
    spool: str


@dataclass(slots=True)
class Source:
    """Be one growing file of an attempt's folder."""

    number: int
    descriptor: int
    offset: int  # up to here it is stored
    waiting_since: float | None = None  # monotonic; when the first byte after it was seen

    @property
    def unsent(self) -> int:
        """Return how many bytes wait."""
        return max(0, os.fstat(self.descriptor).st_size - self.offset)


@dataclass(slots=True)
class Tail:
    """Be the log of one attempt on its way."""

    lease: Lease
    folder: Path
    position: LogPosition
    sources: dict[int, Source] = field(default_factory=dict)
    ended: bool = False

    def look(self) -> bool:
        """Open the files that have appeared, note whether the attempt is over.

        False when the folder is gone: the supervisor is dead, and another one took it over.
        """
        try:
            if not self.ended:
                self._open_new(os.listdir(self.folder))
        except FileNotFoundError:
            return False
        return True

    def _open_new(self, names: list[str]) -> None:
        stored = dict(self.position.sources)
        for number, name in SOURCES:
            if name in names and number not in self.sources:
                descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
                self.sources[number] = Source(number, descriptor, stored.get(number, 0))
        self.ended = END in names  # then the other names and sizes are final too

    def note_hole(self, offset: int, length: int) -> None:
        """Remember bytes that are no records: the file was damaged, by a power cut perhaps."""
        with (self.folder / HOLES).open("a") as file:
            file.write(f"{offset} {length}\n")

    def missing(self) -> str | None:
        """Return one sentence on what could not be read, or None."""
        if not (self.folder / HOLES).exists():
            return None
        holes = set((self.folder / HOLES).read_text().splitlines())  # a retry notes them again
        count = sum(int(hole.split()[1]) for hole in holes)
        return f"{count} bytes of Python output were damaged in the spool and cannot be read."

    def close(self) -> None:
        """Close the files."""
        for source in self.sources.values():
            os.close(source.descriptor)
        self.sources.clear()


class Shipper:
    """Move what attempts wrote from the spool into the store, all attempts in one transaction."""

    def __init__(self, logs: Logs, spool: Path, clock: Clock) -> None:
        self._logs = logs
        self._spool = spool
        self._clock = clock
        self._tails: dict[Lease, Tail] = {}
        self._watched: set[str] = set()
        self._next_look = 0.0
        self._turn = 0

    @property
    def active(self) -> bool:
        """Tell whether there is any log on its way."""
        return bool(self._tails)

    def run_once(self) -> int:
        """Ship what is due and return how many bytes; raises StoreUnavailable, losing nothing."""
        self._find()
        now = self._clock.monotonic()
        chunks: dict[Lease, list[LogChunk]] = {}
        ends: dict[Lease, LogEnd] = {}
        budget = BATCH
        share = max(CHUNK, BATCH // max(1, len(self._tails)))  # no flood keeps the others waiting
        for tail in self._in_turn():
            if not tail.look():
                self._tails.pop(tail.lease).close()
                continue
            read = self._read(tail, now, min(budget, share))
            if read:
                chunks[tail.lease] = read
                budget -= sum(len(chunk.data) for chunk in read)
            if tail.ended and not any(source.unsent for source in tail.sources.values()):
                ends[tail.lease] = LogEnd(*tail.position[:3], missing=tail.missing())
        self._store(chunks, ends)
        return BATCH - budget

    def forget(self) -> None:
        """Forget how far the logs are stored: the store is asked again."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _in_turn(self) -> list[Tail]:
        """Return the logs, another one first each time."""
        tails = list(self._tails.values())
        self._turn = (self._turn + 1) % max(1, len(tails))
        return tails[self._turn :] + tails[: self._turn]

    def _find(self) -> None:
        for lease in leases_in(self._spool):
            if lease not in self._tails:
                position = self._logs.position(lease)
                self._tails[lease] = Tail(lease, folder_of(self._spool, lease), position)
        now = self._clock.monotonic()
        if self._tails and now >= self._next_look:
            self._watched = set(self._logs.watched())
            self._next_look = now + _LOOK_FOR_VIEWERS

    def _read(self, tail: Tail, now: float, budget: int) -> list[LogChunk]:
        watched = tail.lease.run_id in self._watched
        patience = WATCHED_SECONDS if watched else UNWATCHED_SECONDS
        chunks: list[LogChunk] = []
        share = budget // max(1, len(tail.sources))
        for source in tail.sources.values():
            budget = share
            while budget > 0 and self._is_due(tail, source, now, patience):
                read = list(self._chunks(tail, source))
                chunks += read
                budget -= sum(len(chunk.data) for chunk in read)
                source.waiting_since = now if source.unsent else None
                if not read:
                    break
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
            size, lines, crc, sources = tail.position
            newlines = data.count(b"\n")
            total = zlib.crc32(data, crc)
            chunk = LogChunk(size, lines, newlines, stream, source.number, end, at, total, data)
            tail.position = LogPosition(size + len(data), lines + newlines, total, sources)
            source.offset = end
            yield chunk

    def _bytes(self, tail: Tail, source: Source) -> Iterator[tuple[Stream, bytes, int, int]]:
        data = os.pread(source.descriptor, CHUNK, source.offset)
        cut = data.rfind(b"\n") + 1
        if cut and not (tail.ended and len(data) < CHUNK):
            data = data[:cut]  # whole lines, so that two streams do not meet within one
        if data:
            yield Stream(source.number), data, source.offset + len(data), self._clock.now()

    def _records(self, tail: Tail, source: Source) -> Iterator[tuple[Stream, bytes, int, int]]:
        """Yield the texts of whole records, those of one stream in a row joined."""
        data = os.pread(source.descriptor, CHUNK, source.offset)
        texts: list[bytes] = []
        stream = at = 0
        end = source.offset
        skipped = _damage(data)
        if skipped:
            tail.note_hole(source.offset, skipped)
            source.offset += skipped
            data = data[skipped:]
            end = source.offset
        for kind, text, record_end, time in _parse(data, source.offset, torn=tail.ended):
            if kind != stream and texts:
                yield Stream(stream), b"".join(texts), end, at
                texts = []
            if not texts:
                stream, at = kind, time
            texts.append(text)
            end = record_end
        if any(texts):
            yield Stream(stream), b"".join(texts), end, at
        elif tail.ended and not skipped:
            source.offset += len(data)  # a header without text: nothing was written

    def _store(self, chunks: dict[Lease, list[LogChunk]], ends: dict[Lease, LogEnd]) -> None:
        if not chunks and not ends:
            return
        self._logs.append(chunks, ends)
        for lease in ends:
            tail = self._tails.pop(lease)
            tail.close()
            shutil.rmtree(tail.folder)


def _damage(data: bytes) -> int:
    """Return how many bytes at the beginning are no record."""
    if not data or data.startswith(MAGIC) or MAGIC.startswith(data):
        return 0
    found = data.find(MAGIC)
    return len(data) if found < 0 else found


def _parse(data: bytes, offset: int, *, torn: bool) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield (stream, text, offset after it, time) of each record.

    The last one may be incomplete: it is still being written, or, when `torn`, its writer was
    killed within write(2), and what is there of it is all there will be.
    """
    at = 0
    while at + HEADER.size <= len(data) and data.startswith(MAGIC, at):
        _, stream, length, time = HEADER.unpack_from(data, at)
        text = data[at + HEADER.size : at + HEADER.size + length]
        if len(text) < length and not (torn and len(data) < CHUNK):
            return
        at += HEADER.size + len(text)
        yield stream, text, offset + at, time


def main() -> None:
    """Start as ``python -m holdfast.worker.shipper``; ends when standard input does."""
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=ShipperSetup)
    clock = SystemClock()
    shipper = Shipper(open_store(setup.store, clock).logs, Path(setup.spool), clock)
    moved, last, pause = 0.0, None, _IDLE
    while last is None or (shipper.active and clock.monotonic() < last):
        try:
            shipped = shipper.run_once()
            moved = clock.monotonic() if shipped else moved
            quiet = clock.monotonic() - moved > _QUIET_AFTER
            pause = _IDLE if not shipper.active else _QUIET if quiet else _ACTIVE
            pause = 0.0 if shipped >= CHUNK else pause
        except StoreUnavailable:
            shipper.forget()
            pause = min(1.0, pause + 0.1)
        if last is not None:
            select.select([], [], [], pause)
        elif select.select([sys.stdin], [], [], pause)[0] and not os.read(0, 4096):
            last = clock.monotonic() + _PATIENCE


if __name__ == "__main__":
    main()
