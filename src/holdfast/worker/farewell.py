"""End an executor, for whatever reason: all that is below it first, then its output is saved."""

from __future__ import annotations

import errno
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from holdfast.worker import proc

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_MOST_DESCRIPTORS = 1 << 20
last_acts: list[Callable[[], None]] = []  # what is done when nothing is left below


def end_everything() -> NoReturn:
    """Kill what is below this process, then this process: nobody would look after it."""
    try:
        _say_farewell()
    finally:
        os._exit(1)


def die(number: int, _frame: FrameType | None) -> None:
    """Take everything below along, then die of the very signal, so that the parent sees it."""
    try:
        _say_farewell()
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def spare_children() -> None:
    """Let children that tasks fork simply die of SIGTERM: the farewell is not theirs.

    A signal that comes before the interpreter is ready in the child would be forgotten there, as
    for any handler of Python's: it is held up for so long.
    """
    number = {signal.SIGTERM}

    def be_ordinary() -> None:
        if signal.getsignal(signal.SIGTERM) is die:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, number)

    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, number),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, number),
        after_in_child=be_ordinary,
    )


def _say_farewell() -> None:
    _kill_all_below()
    for act in last_acts:
        act()


def _kill_all_below() -> None:
    try:
        proc.kill_tree(os.getpid(), with_root=False)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        # Its tasks have used up all descriptors, and one is needed to look.
        os.closerange(3, _MOST_DESCRIPTORS)
        proc.kill_tree(os.getpid(), with_root=False)
