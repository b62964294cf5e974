"""Remember how an executor was before any task ran in it, and put it back after each."""

from __future__ import annotations

import os
import resource
import signal
import time
from _signal import (  # type: ignore[import-not-found] # without the enum: 6 µs less
    getsignal,
    pthread_sigmask,
)
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.worker.capture import Capture

_LOOK = 0.0005  # seconds between two looks


class Home:
    """Be what tasks find and must leave: streams, signals, folder, environment, file mode.

    It keeps attempts from hurting those after them by accident. It is no sandbox: what a task
    changes elsewhere in its process stays, and what it does on purpose nobody undoes.
    """

    def __init__(self, capture: Capture, handlers: Mapping[signal.Signals, Any]) -> None:
        self._capture = capture
        self._handlers = handlers
        self._folder = _folder()
        self._way_back = os.open(os.curdir, os.O_PATH | os.O_CLOEXEC)
        self._environ = os.environ
        self._variables = _bytes_of(os.environ).copy()
        self._blocked = pthread_sigmask(signal.SIG_BLOCK, ())
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._looked = 0.0
        self._room = _lowest_free() or 0
        self._room += max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - self._room) // 2

    def put_back(self) -> None:
        """Undo what a task has changed for those that come after it in this process."""
        self._capture.put_back()
        for number, handler in self._handlers.items():
            if getsignal(number) != handler:
                signal.signal(number, handler)
        if pthread_sigmask(signal.SIG_BLOCK, ()) != self._blocked:
            pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        if _folder() != self._folder:
            self._go_back()
        if os.environ is not self._environ or _bytes_of(os.environ) != self._variables:
            self._put_back_environment()
        os.umask(self._umask)

    def is_crowded(self) -> bool:
        """Tell whether tasks have left so many files open that the next ones may find no room."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return False  # half of all that may be open cannot be opened in so short a time
        self._looked = now
        lowest = _lowest_free()
        return lowest is None or lowest > self._room

    def _go_back(self) -> None:
        """Enter the folder again, also when it was deleted: a deploy removes what was before."""
        try:
            os.chdir(self._way_back)
        except OSError:  # a task has closed it
            os.chdir(self._folder or "/")

    def _put_back_environment(self) -> None:
        os.environ = self._environ  # noqa: B003 - it is the very one that stood there
        for name in set(map(os.fsdecode, _bytes_of(os.environ))):
            if os.fsencode(name) not in self._variables:
                del os.environ[name]
        for variable, value in self._variables.items():
            os.environ[os.fsdecode(variable)] = os.fsdecode(value)


def _bytes_of(environ: os._Environ[str]) -> dict[bytes, bytes]:
    """Return what is behind the environment: to compare it costs a tenth of decoding it."""
    return environ._data  # type: ignore[attr-defined,no-any-return] # noqa: SLF001


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted
        return None


def _lowest_free() -> int | None:
    """Return the lowest descriptor that is free: about as many are open. None: all are."""
    try:
        descriptor = os.dup(2)
    except OSError:
        return None
    os.close(descriptor)
    return descriptor
