"""Hear the bell of a store on a server: a thread waits, and makes a descriptor readable."""

from __future__ import annotations

import os
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.dialects import Dialect

_AGAIN, _LONGEST_AGAIN = 0.1, 10.0  # seconds until a lost connection is opened again


class ThreadEar:
    """Be readable when the bell rang. The thread has a connection of its own.

    `hear` is given the ear and the connection; it calls `ring` until the ear `is_closed`.
    """

    again_after: float | None = None

    def __init__(self, dialect: Dialect, hear: Callable[[ThreadEar, Any], None]) -> None:
        self._dialect = dialect
        self._hear = hear
        self._flag = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._flag

    def clear(self) -> bool:
        """Forget the rings so far and tell whether there were any."""
        with suppress(BlockingIOError):
            return os.eventfd_read(self._flag) > 0
        return False

    def ring(self) -> None:
        """Make it readable, unless it is closed."""
        with suppress(BlockingIOError):  # it rings already
            if not self._closed.is_set():
                os.eventfd_write(self._flag, 1)

    def is_closed(self, within: float = 0.0) -> bool:
        """Tell whether it was closed, or is within so many seconds."""
        return self._closed.wait(within)

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._thread.join()
        os.close(self._flag)

    def _run(self) -> None:
        pause = _AGAIN
        while not self._closed.is_set():
            try:
                with closing(self._dialect.connect()) as connection:
                    pause = _AGAIN
                    self._hear(self, connection)
            except Exception as error:
                if not self._dialect.is_error(error):
                    raise
                self._closed.wait(pause)
                pause = min(_LONGEST_AGAIN, 2 * pause)
