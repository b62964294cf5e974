"""Say that nobody writes to the log of an attempt any more; on a sick disk as soon as possible."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from holdfast.worker.spool import mark_end, replace_removed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from holdfast.core.models import Lease
    from holdfast.worker.output import Output


class Endings:
    """Mark the folders of ended attempts, and remember those that could not be marked yet."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._late: list[Callable[[], object]] = []

    def mark(self, lease: Lease) -> None:
        """Mark the folder of an attempt that has written something."""
        try:
            self._mark(lease)
        except OSError:  # the disk is full or cannot be written; the run is over all the same
            self._late.append(partial(self._mark, lease))

    def mark_dead(self, output: Output, leases: Collection[Lease]) -> Collection[Lease]:
        """Mark the folders of the attempts that a dead executor had; return those with a log.

        What is left in its pipes is theirs; the pipes are closed then.
        """
        try:
            return self._rescue(output, leases)
        except OSError:
            self._late.append(partial(self._rescue, output, leases))
            return leases

    def catch_up(self) -> None:
        """Try again what could not be done before."""
        late, self._late = self._late, []
        for again in late:
            try:
                again()
            except OSError:
                self._late.append(again)

    def _mark(self, lease: Lease) -> None:
        if not mark_end(self._spool, lease):
            replace_removed(self._spool, lease)

    def _rescue(self, output: Output, leases: Collection[Lease]) -> Collection[Lease]:
        if not output.closed:
            with output.moving():
                output.pour_all(self._spool)
            output.close()
        return [lease for lease in leases if mark_end(self._spool, lease)]
