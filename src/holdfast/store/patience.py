"""Decide after each failure of a transaction whether it is tried again, and when."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from holdfast.core.errors import StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.dialects import Dialect

_FIRST_PAUSE = 0.001  # seconds; then up to twice as long each time
_LONGEST_PAUSE = 0.005  # between two looks for the lock: the price is a few microseconds
_LONGEST_AWAY = 0.25  # between two knocks at a server that lets nobody in: many may knock


class Patience:
    """Bear the failures of one transaction for so many seconds."""

    __slots__ = ("_deadline", "_dialect", "_leave", "_pause", "_repeatable", "_unknown")

    def __init__(
        self, dialect: Dialect, seconds: float, leave: Callable[[], None], *, repeatable: bool
    ) -> None:
        self._dialect = dialect
        self._deadline = time.monotonic() + seconds
        self._leave = leave  # closes the connection, where another server has to be looked for
        self._repeatable = repeatable  # even when nobody knows whether it has been done
        self._unknown = False
        self._pause = _FIRST_PAUSE

    def bear(self, error: BaseException, *, reached: bool, committing: bool) -> bool:
        """Sleep until it may be tried again; False at once for what is not the database's error.

        `reached` tells whether there was a connection, `committing` whether what failed may have
        been done all the same. Raises StoreRefused or StoreUnavailable when trying again is of no
        use.
        """
        dialect = self._dialect
        if dialect.is_refusal(error):
            raise StoreRefused(store=dialect.url, problem=dialect.words(error)) from error
        if not dialect.is_error(error):
            return False
        # Once unknown, it stays so, whatever keeps the next tries from being made.
        self._unknown |= committing and dialect.is_half_done(error)
        elsewhere = dialect.is_elsewhere(error)
        if elsewhere:
            self._leave()
        late = time.monotonic() > self._deadline
        again = self._repeatable or not self._unknown  # else it would find itself in its way
        if late or not again or not (elsewhere or dialect.is_transient(error)):
            raise StoreUnavailable(
                store=dialect.url, problem=str(error), unknown=self._unknown
            ) from error
        time.sleep(random.uniform(0, self._pause))  # noqa: S311 - spreads contenders, no secret
        at_the_door = not (reached or dialect.one_writer) or elsewhere
        self._pause = min(_LONGEST_AWAY if at_the_door else _LONGEST_PAUSE, 2 * self._pause)
        return True
