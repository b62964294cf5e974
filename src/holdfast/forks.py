"""Let nothing be cut in two by a fork: a child has all memory of its parent, and one thread.

What was registered last is called first before a fork. `logging` takes its lock then, for which a
driver may wait that is opening a connection; we wait for the driver, so `logging` comes after us.
"""

from __future__ import annotations

import logging  # noqa: F401 - it registers itself, before we do
import os
import threading
from collections.abc import Callable

away = threading.RLock()  # no fork happens while somebody holds it
_around: list[tuple[Callable[[], None], Callable[[], None]]] = []


def around(halt: Callable[[], None], resume: Callable[[], None]) -> None:
    """Call `halt` before each fork, and `resume` after it, in the parent and in the child."""
    _around.append((halt, resume))


def _before() -> None:
    away.acquire()
    for halt, _ in _around:
        halt()


def _after() -> None:
    for _, resume in reversed(_around):
        resume()
    away.release()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
