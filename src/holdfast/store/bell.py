"""Wake the workers on this host when something was committed: a hint, never relied on.

SQLite has no notifications. Every listener binds a datagram socket in a folder beside the
database; whoever commits sends one byte to each. A lost hint costs one poll interval.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.core.ids import new_id

if TYPE_CHECKING:
    from pathlib import Path


class Bell:
    """Ring all listeners of one store on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ring(self) -> None:
        """Send one byte to each listener and forget those that are gone.

        Never raises for what the system refuses: what it tells of is committed already.
        """
        with suppress(OSError):
            names = [path.name for path in self.folder.iterdir()]
            if names:
                self._send_all(names)

    def _send_all(self, names: list[str]) -> None:
        directory = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
                for name in names:
                    self._send(out, directory, name)
        finally:
            os.close(directory)

    def _send(self, out: socket.socket, directory: int, name: str) -> None:
        try:
            # Through /proc, because a socket's path may have 107 bytes and no more.
            out.sendto(b"!", f"/proc/self/fd/{directory}/{name}")
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        except OSError:
            return  # full: it has been rung already; or it has just gone

    def listen(self) -> Ear:
        """Start to listen; raises OSError where sockets cannot be made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Ear(self.folder)


class Ear:
    """Hear the bell: readable when it rang."""

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
