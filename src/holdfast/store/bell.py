"""Wake the workers on this host when something was committed: a hint, never relied on.

SQLite has no notifications. Every listener binds a datagram socket in a folder beside the
database; whoever commits sends one byte to each. A lost hint costs one poll interval.
"""

from __future__ import annotations

import atexit
import os
import socket
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Protocol

from holdfast.core.ids import new_id

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.store.database import Tx
    from holdfast.store.joining import Guest

_LOOK_SECONDS = 0.1  # between looks for new listeners: a worker listens long before it works
_LONGEST_PATH = 100  # bytes; the address of a socket may have 107


class Ear(Protocol):
    """Hear the bell: readable when it rang."""

    @property
    def again_after(self) -> float | None:
        """Return after how many seconds what nobody rang for again so soon is there."""
        ...

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        ...

    def clear(self) -> bool:
        """Forget the rings so far and tell whether there were any."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class Bell(Protocol):
    """Wake the workers of one store."""

    def ring(self) -> None:
        """Tell the listeners that something was committed; never raises for want of a way."""
        ...

    def ring_within(self, tx: Tx, guest: Guest) -> None:
        """Have the commit of a caller ring, where there is a way."""
        ...

    def goes_along(self) -> bool:
        """Tell whether the next commit of this process may ring itself; then say `went_along`."""
        ...

    def went_along(self) -> None:
        """Note that a commit has rung."""
        ...

    def listen(self) -> Ear:
        """Start to listen; raises OSError or StoreUnavailable where that cannot be."""
        ...


class RingsApart:
    """Never ring with a commit."""

    def goes_along(self) -> bool:
        """Tell that no commit can ring."""
        return False

    def went_along(self) -> None:
        """Do nothing: no commit has rung."""


class SocketBell(RingsApart):
    """Ring all listeners of one store on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: list[str] = []  # of the listeners, at the last look
        self._look_at = 0.0  # monotonic

    def ring(self) -> None:
        """Send one byte to each listener and forget those that are gone.

        Never raises for what the system refuses: what it tells of is committed already.
        """
        with suppress(OSError):
            now = time.monotonic()
            if now >= self._look_at:
                self._look_at = now + _LOOK_SECONDS
                self._paths = []
                self._paths = [f"{self.folder}/{name}" for name in os.listdir(self.folder)]
            paths = self._paths
            if paths and len(os.fsencode(paths[0])) > _LONGEST_PATH:
                self._ring_long([os.path.basename(path) for path in paths])  # noqa: PTH119 - fast
                return
            for path in paths:
                _send(path, path)

    def ring_within(self, _tx: Tx, guest: Guest) -> None:
        """Ring after the commit of a caller, where somebody tells of that."""
        guest.when_committed(self.ring)

    def _ring_long(self, names: list[str]) -> None:
        directory = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in names:
                _send(f"/proc/self/fd/{directory}/{name}", self.folder / name)
        finally:
            os.close(directory)

    def listen(self) -> SocketEar:
        """Start to listen; raises OSError where sockets cannot be made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return SocketEar(self.folder)


@cache
def _out() -> socket.socket:
    """Return the socket of this process to send from; it has no state that a fork could hurt."""
    out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    atexit.register(out.close)
    return out


def _send(address: str, path: str | Path) -> None:
    try:
        _out().sendto(b"!", address)
    except ConnectionRefusedError:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - it may be a text
    except OSError:
        return  # full: it has been rung already; or it has just gone


class SocketEar:
    """Hear the bell of this host."""

    again_after: float | None = None

    def __init__(self, folder: Path) -> None:
        self._path = folder / new_id()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._socket.bind(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def clear(self) -> bool:
        """Forget the rings so far and tell whether there were any."""
        rang = False
        with suppress(BlockingIOError):
            while self._socket.recv(16):
                rang = True
        return rang

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
