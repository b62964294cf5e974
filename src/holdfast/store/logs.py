"""Append the chunks of logs and read them back by byte offset, also when they are in blocks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from holdfast.core.clock import SECOND
from holdfast.core.errors import StoreRefused, StoreUnavailable
from holdfast.core.models import Hole, LogChunk, LogEnd, LogPosition, Stream
from holdfast.store import blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from holdfast.core.ids import RunId
    from holdfast.core.models import Lease
    from holdfast.store.database import Database, Tx

WATCH_SECONDS = 15.0  # how long one sign of interest lasts
_BEYOND = 1 << 62  # an offset that no log reaches
_SHORT = 4096  # bytes that no block is made for, when they are one chunk


class _Row(NamedTuple):
    """Describe a chunk or block without its bytes."""

    start: int
    line: int
    lines: int
    size: int
    at: int  # of its last chunk
    is_block: int


class Logs:
    """Give the verbs of a log. While it grows rows are only inserted: a line costs the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        chunks: Mapping[Lease, Sequence[LogChunk]],
        ends: Mapping[Lease, LogEnd],
    ) -> None:
        """Commit chunks and final records of many attempts at once.

        Raises StoreUnavailable when nothing was committed, also when another shipper has
        continued or ended one of the logs: read `position` again.
        """
        rows = [_chunk_row(lease, chunk) for lease, many in chunks.items() for chunk in many]

        def work(tx: Tx) -> None:
            if tx.many("append_chunk", rows) != len(rows):
                raise StoreUnavailable(
                    store=self._database.dialect.url, problem="one of the logs has ended already"
                )
            for lease, end in ends.items():
                tx.execute("end_log", **lease._asdict(), **_end_row(end), short=_SHORT)

        try:
            self._database.write(work)
        except StoreRefused as error:  # the place is taken
            raise StoreUnavailable(store=error.store, problem=error.problem) from error

    def position(self, lease: Lease) -> LogPosition:
        """Return how far the log of an attempt is stored."""

        def work(tx: Tx) -> LogPosition:
            end = tx.row("log_end", **lease._asdict())
            if end is not None:
                size, lines, crc, *_ = end
                return LogPosition(size, lines, crc, ended=True)
            row = tx.row("log_position", **lease._asdict())
            if row is None:
                return LogPosition()
            ends = tx.rows("source_ends", **lease._asdict())
            return LogPosition(*row)._replace(sources=tuple((end[0], end[1]) for end in ends))

        return self._database.read(work)

    def read(self, lease: Lease, offset: int = 0, limit: int = 16) -> list[LogChunk]:
        """Return chunks from an offset on, none at the end; the first one is cut to start there.

        They are up to `limit` rows, or what is left of one block: at most a mebibyte or so.
        """

        def work(tx: Tx) -> list[LogChunk]:
            row = _row_at(lease, offset, tx)
            if row is None:
                return []
            if row.is_block and offset < row.start + row.size:
                (block,) = tx.rows("block", **lease._asdict(), start=row.start)
                return blocks.unpack(blocks.Block(*block))
            rows = tx.rows("chunks_from", **lease._asdict(), first=row.start, limit=limit)
            return [LogChunk(*chunk) for chunk in rows]

        chunks = self._database.read(work)
        return [_cut(chunk, offset) for chunk in chunks if chunk.start + len(chunk.data) > offset]

    def iterate(self, lease: Lease, offset: int = 0) -> Iterator[LogChunk]:
        """Yield all stored chunks from an offset on, in bounded memory."""
        while chunks := self.read(lease, offset):
            yield from chunks
            offset = chunks[-1].start + len(chunks[-1].data)

    def backwards(self, lease: Lease) -> Iterator[LogChunk]:
        """Yield all stored chunks, the last one first, in bounded memory."""
        end = _BEYOND
        while row := self._database.read(partial(_row_at, lease, end - 1)):
            for chunk in reversed(self.read(lease, row.start, limit=1)):
                if chunk.start < end:
                    yield chunk
            end = row.start

    def offset_of_line(self, lease: Lease, number: int) -> int | None:
        """Return where a line begins, counted from 1; None when nothing is there yet."""
        newline = number - 1  # it begins after that one
        chunk = self._first(lease, lambda at: at.line + at.lines >= newline)
        if chunk is None:
            return None
        offset = 0
        for _ in range(newline - chunk.line):
            offset = chunk.data.index(b"\n", offset) + 1
        return chunk.start + offset

    def chunk_of_time(self, lease: Lease, moment: int) -> LogChunk | None:
        """Return the first chunk that was not complete before a moment, None when all were."""
        return self._first(lease, lambda at: at.at >= moment)

    def _first(self, lease: Lease, fits: Callable[[_Row | LogChunk], bool]) -> LogChunk | None:
        """Return the first chunk that fits, where all after it do, in logarithmic time."""

        def work(tx: Tx) -> int | None:
            last, found, low = _row_at(lease, _BEYOND, tx), None, 0
            high = last.start + last.size if last else 0
            while low < high:
                row = _row_at(lease, (low + high) // 2, tx)
                assert row is not None, "a log has no gap"
                if fits(row):
                    found = high = row.start
                else:
                    low = row.start + row.size
            return found

        start = self._database.read(work)
        return None if start is None else next(filter(fits, self.read(lease, start)), None)

    def end(self, lease: Lease) -> LogEnd | None:
        """Return the final record of an attempt's log, or None while more may come."""
        row = self._database.read(lambda tx: tx.row("log_end", **lease._asdict()))
        return _end(*row) if row else None

    def watch(self, run_id: RunId) -> None:
        """Ask the shipper to send the output of a run at once, for the next 15 seconds."""

        def work(tx: Tx) -> None:
            until = tx.now + int(WATCH_SECONDS * SECOND)
            tx.execute("watch", run_id=run_id, until=until)

        self._database.write(work)

    def watched(self) -> set[RunId]:
        """Return the runs that somebody watches."""
        return {row[0] for row in self._database.read(lambda tx: tx.rows("watched"))}

    def delete(self, run_ids: Sequence[RunId]) -> None:
        """Have the logs of runs deleted, step by step, by `Upkeep.sweep`: they may be long."""

        def work(tx: Tx) -> None:
            tx.many("forget_run", [{"run_id": run_id} for run_id in run_ids])
            tx.execute("forget_watches")

        self._database.write(work)


def _row_at(lease: Lease, offset: int, tx: Tx) -> _Row | None:
    """Return the row that holds a byte, or the last one before it."""
    row = tx.row("row_at", **lease._asdict(), offset=offset)
    return None if row is None else _Row(*row)


def _chunk_row(lease: Lease, chunk: LogChunk) -> dict[str, object]:
    return {**lease._asdict(), **chunk._asdict(), "stream": int(chunk.stream)}


def _end_row(end: LogEnd) -> dict[str, object]:
    holes = msgspec.json.encode(end.holes).decode() if end.holes else None
    return {**end._asdict(), "holes": holes}


def _end(
    size: int, lines: int, crc: int, missing: str | None, holes: str | None, deleted_at: int | None
) -> LogEnd:
    known = msgspec.json.decode(holes, type=tuple[Hole, ...]) if holes else ()
    return LogEnd(size, lines, crc, missing, known, deleted_at)


def _cut(chunk: LogChunk, offset: int) -> LogChunk:
    chunk = chunk._replace(stream=Stream(chunk.stream))
    if chunk.start >= offset:
        return chunk
    head = chunk.data[: offset - chunk.start]
    return chunk._replace(
        start=chunk.start + len(head),
        line=chunk.line + head.count(b"\n"),
        lines=chunk.lines - head.count(b"\n"),
        data=chunk.data[len(head) :],
    )
