"""Close a store to all but its move, by triggers, and open it again.

A trigger reaches also a program that has had the store open for days. It lets a transaction pass
that says of the move itself that it has arrived: so says that of each batch, and takes it back
before it commits. Nobody else ever sees it; whoever looks at an older state of the database sees no
move at all, and is refused too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.errors import CannotClose, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.store.database import Database, Tx
    from holdfast.store.tables import Table

AWAY, HERE = "away", "here"
LEAVING, LEFT = "leaving", "left"
ARRIVING, ARRIVED = "arriving", "arrived"


class Move(NamedTuple):
    """Describe the move of a store as one side knows it."""

    move_id: str
    state: str  # of AWAY: LEAVING, LEFT; of HERE: ARRIVING, ARRIVED
    other: str  # the address of the other side
    runs: int = 0  # what has come so far
    attempts: int = 0
    log_bytes: int = 0

    @property
    def refusal(self) -> str:
        """Say why nothing can be written."""
        if self.state in (LEAVING, LEFT):
            return f"this store is being moved to {self.other}"
        return "a store is being moved to here, and is not complete: give the command again"


class Gate(NamedTuple):
    """Name a trigger and the table it closes."""

    name: str
    table: str

    def is_of(self, move: Move) -> bool:
        """Tell whether a move has made it: `Dialect.gates` ends each name so."""
        return self.name.endswith(move.move_id[-12:])


def move_of(database: Database, leads: str) -> Move | None:
    """Return the move away from a store, or that to here."""
    row = database.read(lambda tx: tx.row("move", leads=leads))
    return None if row is None else Move(*row)


def check_open(database: Database) -> None:
    """Raise StoreRefused for a store that takes nothing, before anything is tried."""
    for leads in (AWAY, HERE):
        move = move_of(database, leads)
        if move is not None and move.state != ARRIVED:
            raise StoreRefused(store=database.dialect.url, problem=move.refusal)


def close(database: Database, tables: Sequence[Table], move: Move) -> None:
    """Let nobody but the move write to these tables; what is closed already stays so.

    Waits for transactions that have written to them. Raises CannotClose.
    """
    there = {gate.name for gate in standing(database)}
    try:
        for table in tables:
            gates = database.dialect.gates(table.name, table.changes, move.move_id, move.refusal)
            missing = [text for name, text in gates.items() if name not in there]
            if missing:  # one table at a time: who holds several could wait for one another
                database.write(partial(_script, missing))
    except StoreUnavailable as error:
        raise CannotClose(store=error.store, problem=error.problem) from error


def open_again(database: Database, move: Move) -> None:
    """Take the gates of a move away, and those of no other one."""
    take_away(database, [gate for gate in standing(database) if gate.is_of(move)])


def take_away(database: Database, gates: Sequence[Gate]) -> None:
    """Take gates away, one by one."""
    for gate in gates:
        database.write(partial(_script, [database.dialect.no_gate(*gate)]))


def standing(database: Database) -> list[Gate]:
    """Return the gates that there are."""
    return [Gate(*row) for row in database.read(lambda tx: tx.rows("gates"))]


def _script(texts: Sequence[str], tx: Tx) -> None:
    tx.script(texts)
