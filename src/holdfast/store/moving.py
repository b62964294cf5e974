"""Move a whole store to another database: runs, history, logs, queues, workers.

The old store is closed first, so nothing is written there that would be left behind. The new one is
closed to all others until everything is there and counted: a worker that took up a run in between
could find it brought once more. Whoever dies in the middle leaves both closed; the same command
goes on. In the end the old store is marked first, then the new one opened, so that there is no
moment at which both are open.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.clock import SECOND
from holdfast.core.config import sqlite_path
from holdfast.core.errors import (
    CountsDiffer,
    MovedElsewhere,
    MoveError,
    MoveGivenUp,
    NotAStore,
    NotEmpty,
    SameStore,
    WorkersAreUp,
)
from holdfast.core.ids import new_id
from holdfast.core.verdict import WorkerDeath
from holdfast.store import gates, migrate, tables
from holdfast.store.copying import Copy, Overtaken
from holdfast.store.gates import ARRIVED, ARRIVING, AWAY, HERE, LEAVING, LEFT, Move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from holdfast.core.models import WorkerRecord
    from holdfast.store import Store
    from holdfast.store.database import Database, Tx
    from holdfast.store.tables import Table


class Progress(NamedTuple):
    """Say how much of a table has come."""

    table: str
    done: int  # rows
    total: int


class Moved(NamedTuple):
    """Say what a move has brought."""

    runs: int
    attempts: int  # that have ended
    log_bytes: int
    before: bool  # whether all was done before already


def move(
    source: Store, target: Store, lease_seconds: float, tell: Callable[[Progress], None]
) -> Moved:
    """Move all that is in a store to another one, which is made when it is not there.

    Killed at any moment it can be called again, and goes on; called once more when all is done, it
    changes nothing. Raises MoveError when it cannot be, NotAStore, SchemaOutdated.
    """
    return _Moving(source, target, lease_seconds, tell).carry_out()


def give_up(source: Store) -> bool:
    """Open a store again whose move is not complete; False when it was not being moved.

    What has come to the other store counts for nothing, and that one stays closed. Raises
    MovedElsewhere when the move is complete.
    """
    _check_is_store(source)
    here = gates.move_of(source.database, HERE)
    if here is not None and here.state == ARRIVING:  # this is the new one
        raise MovedElsewhere(store=here.other, to=source.url, done=False)
    # Those that stand now, also when it was given up before, but not to the end. A move that begins
    # later makes its own.
    standing = [(database, gates.standing(database)) for database, _ in _parts(source)]
    given_up = 0
    if gates.move_of(source.database, AWAY) is not None:
        given_up = source.database.write(lambda tx: tx.execute("give_up_move"))
    found = gates.move_of(source.database, AWAY)
    if found is not None and found.state == LEFT:  # perhaps just now
        raise MovedElsewhere(store=source.url, to=found.other, done=True)
    for database, its_gates in standing:
        gates.take_away(database, its_gates)
    return given_up == 1


class _Moving:
    def __init__(
        self,
        source: Store,
        target: Store,
        lease_seconds: float,
        tell: Callable[[Progress], None],
    ) -> None:
        self._source = source
        self._target = target
        self._lease_seconds = lease_seconds
        self._tell = tell

    def carry_out(self) -> Moved:
        _check_is_store(self._source)
        self._check_other()
        found = gates.move_of(self._source.database, AWAY)
        if found is not None and found.state == LEFT:
            return self._open(found, before=True)
        if found is None:
            self._check_workers()
        self._target.prepare()
        found = self._begin(found)
        self._close(found)
        self._check_goes_on(found)
        self._check_workers()
        try:
            self._copy(found)
        except Overtaken:
            self._check_left(found, self._given_up())  # by another one that moves the same
        return self._open(found)

    def _check_other(self) -> None:
        """Raise SameStore when both sides are one database, whatever their addresses are."""
        one, other = self._source.database, self._target.database
        if one.dialect.name != other.dialect.name or not _is_there(self._target):
            return
        places = [d.dialect.place(d.read(lambda tx: tx.row("place"))) for d in (one, other)]
        if places[0].key == places[1].key:
            raise SameStore(store=self._source.url)

    def _check_workers(self) -> None:
        """Raise WorkersAreUp when some have shown signs of life within a lease."""
        workers = self._source.workers.list()
        now = self._source.database.read(lambda tx: tx.now)
        since = now - int(self._lease_seconds * SECOND)
        self._refuse_for([worker for worker in workers if worker.seen_at > since])

    def _refuse_for(self, alive: list[WorkerRecord]) -> None:
        if alive:
            names = [f"{w.worker_id} on {w.host} (pid {w.pid})" for w in alive]
            lease = self._lease_seconds
            raise WorkersAreUp(store=self._source.url, workers=names, lease_seconds=lease)

    def _begin(self, found: Move | None) -> Move:
        """Return the move of the source, noted on both sides; raises NotEmpty, MovedElsewhere."""
        here = gates.move_of(self._target.database, HERE)
        goes_on = found is not None and here is not None and found.move_id == here.move_id
        if not goes_on:
            self._check_place(found)
        if found is None:
            found = _note(self._source.database, AWAY, Move(new_id(), LEAVING, self._target.url))
            self._check_same(found)  # another one may have begun just now
        for database, _ in _parts(self._target):
            theirs = _note(database, HERE, Move(found.move_id, ARRIVING, self._source.url))
            if theirs.move_id != found.move_id:
                raise NotEmpty(store=self._target.url, found=f"what comes from {theirs.other}")
        return found

    def _check_same(self, found: Move) -> None:
        if found.other != self._target.url:
            raise MovedElsewhere(store=self._source.url, to=found.other, done=False)

    def _check_place(self, found: Move | None) -> None:
        """Raise NotEmpty, MovedElsewhere unless a move can begin with this new store."""
        if found is not None:
            self._check_same(found)
        for leads, words in ((HERE, "came from"), (AWAY, "moves to")):
            other = gates.move_of(self._target.database, leads)
            if other is not None:
                raise NotEmpty(store=self._target.url, found=f"what {words} {other.other}")
        for database, table in _tables(self._target):
            rows = Copy(database, database, table, "").copied()
            if rows:
                raise NotEmpty(store=self._target.url, found=f"{rows} rows in {table.name}")

    def _close(self, move: Move) -> None:
        """Close the new store to all others, and then the old one to all."""
        arriving = Move(move.move_id, ARRIVING, self._source.url)
        for store, noted in ((self._target, arriving), (self._source, move)):
            for database, among in _parts(store):
                gates.close(database, among, noted)

    def _copy(self, move: Move) -> None:
        counts: dict[str, int] = {}
        for copy, name in self._copies(move):
            counts[name] = total = copy.to_copy()
            done = copy.copied() if copy.is_begun() else 0
            self._tell(Progress(name, done, total))
            for count in copy.go_on():
                done += count
                self._tell(Progress(name, done, total))
            if name == "worker":
                self._fence(move)
        for copy, name in self._copies(move):
            self._compare(move, name, copy.copied(), counts[name])
        self._leave(move)

    def _compare(self, move: Move, name: str, found: int, expected: int) -> None:
        if found != expected:
            url = self._target.url
            error = CountsDiffer(store=url, table=name, found=found, expected=expected)
            self._check_left(move, error)

    def _copies(self, move: Move) -> Iterator[tuple[Copy, str]]:
        both = zip(_tables(self._source), _tables(self._target), strict=True)
        for (source, table), (target, _) in both:
            yield Copy(source, target, table, move.move_id), table.name

    def _fence(self, move: Move) -> None:
        """Have workers that are only stopped learn, should they wake up, that they hold nothing.

        In the new store they are as they were: there others will see whether they live.
        """
        alive = []
        for worker in self._source.workers.list():
            death = WorkerDeath("cut off", worker.host, f"The store was moved to {move.other}.")
            beat = worker.beat
            if not self._source.workers.declare_dead(worker.worker_id, beat=beat, death=death):
                alive.append(worker)
        self._refuse_for(alive)

    def _given_up(self) -> MoveError:
        return MoveGivenUp(store=self._source.url, to=self._target.url)

    def _leave(self, move: Move) -> None:
        """Mark the old store as left: from now on the new one is the store."""
        place = {"leads": AWAY, "move_id": move.move_id, "before": LEAVING, "state": LEFT}
        if self._source.database.write(partial(_step, place)) != 1:
            self._check_left(move, self._given_up())

    def _check_left(self, move: Move, error: MoveError) -> None:
        """Raise an error unless somebody else has completed the same move meanwhile."""
        now = gates.move_of(self._source.database, AWAY)
        if now is None or (now.move_id, now.state) != (move.move_id, LEFT):
            self._check_goes_on(move)
            raise error

    def _check_goes_on(self, move: Move) -> None:
        """Raise MoveGivenUp, and take away what gates may have been made after that."""
        now = gates.move_of(self._source.database, AWAY)
        if now is None or now.move_id != move.move_id:
            for database, _ in _parts(self._source):
                gates.open_again(database, move)
            raise self._given_up()

    def _open(self, move: Move, *, before: bool = False) -> Moved:
        """Open the new store, unless it is open; raises MovedElsewhere if it is another one."""
        parts, marks = _parts(self._target), list[Move]()
        if _is_there(self._target):
            found = [gates.move_of(database, HERE) for database, _ in parts]
            marks = [mark for mark in found if mark is not None and mark.move_id == move.move_id]
        if len(marks) != len(parts):
            raise MovedElsewhere(store=self._source.url, to=move.other, done=True)
        place = {"leads": HERE, "move_id": move.move_id, "before": ARRIVING, "state": ARRIVED}
        for (database, _), mark in reversed([*zip(parts, marks, strict=True)]):
            if mark.state != ARRIVED:  # workers can come when the last part is open
                database.write(partial(_step, place), repeatable=True)
            gates.open_again(database, move)
        main, logs = marks
        return Moved(main.runs, main.attempts, logs.log_bytes, before)


def _step(place: Mapping[str, str], tx: Tx) -> int:
    return tx.execute("step_move", **place)


def _check_is_store(store: Store) -> None:
    """Raise NotAStore, SchemaOutdated."""
    if not _is_there(store):
        raise NotAStore(store=store.url, found="empty")
    store.prepare()


def _is_there(store: Store) -> bool:
    """Tell whether a store was ever made, and make none."""
    store.check_ours()  # to open a file of something else would change it
    path = sqlite_path(store.url)
    return (path is None or path.exists()) and migrate.version(store.database) > 0


def _parts(store: Store) -> list[tuple[Database, tuple[Table, ...]]]:
    return [(store.database, tables.OF_RUNS), (store.log_database, tables.OF_LOGS)]


def _tables(store: Store) -> Iterator[tuple[Database, Table]]:
    for database, among in _parts(store):
        for table in among:
            yield database, table


def _note(database: Database, leads: str, move: Move) -> Move:
    """Note a move, unless one is there; return the one that is there then."""
    found = gates.move_of(database, leads)
    if found is None:
        values = {"move_id": move.move_id, "state": move.state, "other": move.other}
        database.write(partial(_begin, {"leads": leads, **values}), repeatable=True)
        found = gates.move_of(database, leads)
    assert found is not None, "it was noted, and nobody deletes it"
    return found


def _begin(values: Mapping[str, str], tx: Tx) -> int:
    return tx.execute("begin_move", **values)
