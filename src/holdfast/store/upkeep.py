"""Keep the store small: press the chunks of ended logs into blocks, take away what is dead.

Each verb is one small step that any worker may take at any time, also two at once, and that may
be killed: a step is one transaction, which proves that it changes what it has read.
"""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.models import Lease, LogChunk
from holdfast.store import blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.ids import RunId
    from holdfast.store.database import Database, Row, Tx

_CANDIDATES = 16  # logs to choose from, so that workers rarely choose the same
_DELETIONS = 64  # logs looked at in one step of deleting,
_ROWS = 256  # and rows deleted: 16 MiB at most
_FREE_PAGES = 4096  # that may stay in the file, for the logs to come,
_FREE_SHARE = 5  # or one in so many
_PAGES = 256  # given back in one step
_DEAD_ROWS = 10_000  # that every claim may have to walk over,
_DEAD_SHARE = 10  # or one for so many that are alive


class Place(NamedTuple):
    """Name a log in the order in which they ended."""

    ended_at: int
    run_id: RunId
    attempt: int


class Room(NamedTuple):
    """Say how much room the logs take."""

    size: int  # bytes
    compact: bool  # whether all that have ended are compacted


class Upkeep:
    """Give the verbs of what is done to logs and runs that have ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left = 0  # dead rows that the last vacuum could not take away

    def compact(self) -> bool:
        """Press the next chunks of an ended log into a block; False when none is left.

        Readers do not notice: a block holds its chunks as they were, and replaces them at once.
        """
        logs = self._database.read(lambda tx: tx.rows("loose_logs", limit=_CANDIDATES))
        if not logs:
            return False
        lease = Lease(*random.choice(logs))  # noqa: S311 - spreads workers, no secret
        chunks, is_last = self._database.read(partial(_next_chunks, lease))
        block = blocks.pack(chunks) if chunks else None
        with suppress(_Overtaken):  # by another worker, or the log was deleted meanwhile
            self._database.write(partial(_replace, lease, chunks, block, is_last))
        return True

    def sweep(self) -> bool:
        """Delete some rows of what is to be deleted; False when nothing is.

        Each log goes from its end to its beginning, so what a reader still sees has no gap.
        """
        rows = self._database.read(lambda tx: tx.rows("deletions", limit=_DELETIONS))
        if rows:
            self._database.write(partial(_sweep, rows))
        return bool(rows)

    def oldest(self, before: int, place: Place, limit: int) -> list[Place]:
        """Return the logs that ended before a time, the oldest first, after a place among them."""
        ended_at, run_id, attempt = place
        after = {"ended_at": ended_at, "run_id": run_id, "attempt": attempt}
        rows = self._database.read(
            lambda tx: tx.rows("oldest_logs", before=before, **after, limit=limit)
        )
        return [Place(*row) for row in rows]

    def stored_size(self, lease: Lease) -> int:
        """Return how many bytes the log of an attempt takes in the store."""
        row = self._database.read(lambda tx: tx.row("stored_size", **lease._asdict()))
        return int(row[0]) if row else 0

    def retire(self, leases: Sequence[Lease]) -> int:
        """Have logs deleted and keep a record of each: when, how many lines, how many bytes."""

        def work(tx: Tx) -> int:
            retired = tx.many("mark_deleted", [lease._asdict() for lease in leases])
            tx.many("ask_deletion", [lease._asdict() for lease in leases])
            return retired

        return self._database.write(work)

    def room(self) -> Room:
        """Return how much room the logs take."""
        held = self._database.read(lambda tx: tx.row("log_bytes"))
        loose = self._database.read(lambda tx: tx.rows("loose_logs", limit=1))
        assert held is not None, "a sum always answers"
        return Room(int(held[0]), compact=not loose)

    def give_back(self) -> bool:
        """Return some free pages to the file system; False when few are left.

        A part stays free for the logs to come: pages that are reused cost less.
        """
        return self._database.write(_give_back)

    def vacuum(self) -> bool:
        """Free the table of live runs of its dead rows when there are many; False when few.

        Where runs end by the thousand in a second, the server's own vacuum comes too seldom: once
        a minute at most (PostgreSQL, autovacuum_naptime). What a long transaction may still see
        stays, and is not tried again at once.
        """
        dead, alive = self._dead_rows()
        self._left = min(self._left, dead)
        if dead - self._left < max(_DEAD_ROWS, alive // _DEAD_SHARE):
            return False
        self._left = dead
        try:
            self._database.at_once("vacuum_live")
        except Exception as error:
            if not self._database.dialect.is_error(error):
                raise
            return False  # it takes too long: autovacuum will do it. Or the next look will tell
        self._left, _ = self._dead_rows()
        return True

    def _dead_rows(self) -> tuple[int, int]:
        """Return about how many rows are dead and alive; (0, 0) where no claim meets dead ones."""
        row = self._database.read(lambda tx: tx.row("dead_rows"))
        assert row is not None, "what is asked for has one row"
        return int(row[0]), int(row[1])


class _Overtaken(Exception):
    """Undo a step that another one has taken in between."""


def _next_chunks(lease: Lease, tx: Tx) -> tuple[list[LogChunk], bool]:
    """Return the chunks of the next block, and whether they are the last ones."""
    sizes = [size for (size,) in tx.rows("chunk_sizes", **lease._asdict(), limit=blocks.PIECES + 1)]
    count = total = 0
    while count < min(len(sizes), blocks.PIECES) and total < blocks.BYTES:
        total += sizes[count]
        count += 1
    rows = tx.rows("chunks_from", **lease._asdict(), first=0, limit=count)
    return [LogChunk(*row) for row in rows], count == len(sizes)


def _replace(
    lease: Lease,
    chunks: Sequence[LogChunk],
    block: blocks.Block | None,
    is_last: bool,  # noqa: FBT001 - given by partial
    tx: Tx,
) -> None:
    if block is not None:
        first, last = chunks[0].start, chunks[-1].start
        if tx.execute("delete_chunks_between", **lease._asdict(), first=first, last=last) != len(
            chunks
        ):
            raise _Overtaken
        tx.execute("insert_block", **lease._asdict(), **block._asdict())
    if is_last:
        tx.execute("mark_compact", **lease._asdict())


def _sweep(deletions: Sequence[Row], tx: Tx) -> None:
    room = _ROWS
    for run_id, attempt, forget in deletions:
        lease = Lease(run_id, attempt)
        room -= _delete_rows(lease, room, tx)
        if room <= 0:
            return
        if forget:
            tx.execute("delete_log_end", **lease._asdict())
        tx.execute("end_deletion", **lease._asdict())


def _delete_rows(lease: Lease, most: int, tx: Tx) -> int:
    """Delete rows from the end of a log, and return how many."""
    deleted = 0
    for find, delete in (
        ("chunk_from_end", "delete_chunks_from"),
        ("block_from_end", "delete_blocks_from"),
    ):
        if deleted < most:
            row = tx.row(find, **lease._asdict(), skip=most - deleted - 1)
            deleted += tx.execute(delete, **lease._asdict(), first=row[0] if row else 0)
    return deleted


def _give_back(tx: Tx) -> bool:
    row = tx.row("pages")
    assert row is not None, "a pragma always answers"
    used, free = row
    excess = free - max(_FREE_PAGES, used // _FREE_SHARE)
    for _ in range(min(excess, _PAGES)):
        tx.execute("give_back_page")
    return bool(excess > 0)
