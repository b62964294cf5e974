"""Append the chunks of logs and read them back by byte offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.clock import SECOND
from holdfast.core.models import LogChunk, LogEnd, LogPosition, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.core.ids import RunId
    from holdfast.core.models import Lease
    from holdfast.store.database import Database, Tx

WATCH_SECONDS = 15.0  # how long one sign of interest lasts


class Logs:
    """Give the verbs of a log. Rows are only inserted, so the cost of a line is constant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        chunks: Mapping[Lease, Sequence[LogChunk]],
        ends: Mapping[Lease, LogEnd],
    ) -> None:
        """Commit chunks and final records of many attempts at once.

        Raises StoreUnavailable when nothing was committed, also when another shipper has
        continued one of the logs: read `position` again.
        """
        rows = [_chunk_row(lease, chunk) for lease, many in chunks.items() for chunk in many]

        def work(tx: Tx) -> None:
            tx.many("append_chunk", rows)
            for lease, end in ends.items():
                tx.execute("end_log", **lease._asdict(), **end._asdict())

        self._database.write(work)

    def position(self, lease: Lease) -> LogPosition:
        """Return how far the log of an attempt is stored."""

        def work(tx: Tx) -> LogPosition:
            row = tx.row("log_position", **lease._asdict())
            if row is None:
                return LogPosition()
            ends = tx.rows("source_ends", **lease._asdict())
            return LogPosition(*row)._replace(sources=tuple((end[0], end[1]) for end in ends))

        return self._database.read(work)

    def read(self, lease: Lease, offset: int = 0, limit: int = 16) -> list[LogChunk]:
        """Return up to `limit` chunks from an offset on; the first one is cut to start there."""

        def work(tx: Tx) -> list[LogChunk]:
            at = tx.row("chunk_at", **lease._asdict(), offset=offset)
            first = at[0] if at else 0
            return [
                LogChunk(*row)
                for row in tx.rows("chunks_from", **lease._asdict(), first=first, limit=limit)
            ]

        chunks = [_cut(chunk, offset) for chunk in self._database.read(work)]
        return [chunk for chunk in chunks if chunk.data]

    def iterate(self, lease: Lease, offset: int = 0) -> Iterator[LogChunk]:
        """Yield all stored chunks from an offset on, in bounded memory."""
        while chunks := self.read(lease, offset):
            yield from chunks
            offset = chunks[-1].start + len(chunks[-1].data)

    def end(self, lease: Lease) -> LogEnd | None:
        """Return the final record of an attempt's log, or None while more may come."""
        row = self._database.read(lambda tx: tx.row("log_end", **lease._asdict()))
        return LogEnd(*row) if row else None

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
        """Delete the logs of runs."""

        def work(tx: Tx) -> None:
            for run_id in run_ids:
                tx.execute("delete_chunks", run_id=run_id)
                tx.execute("delete_log_ends", run_id=run_id)
            tx.execute("forget_watches")

        self._database.write(work)


def _chunk_row(lease: Lease, chunk: LogChunk) -> dict[str, object]:
    return {**lease._asdict(), **chunk._asdict(), "stream": int(chunk.stream)}


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
