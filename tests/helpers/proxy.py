"""Stand between clients and a server, and lose what the server answers."""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress

_IDLE = b"Z\0\0\0\5I"  # PostgreSQL: ready, in no transaction
_RESET = struct.pack("ii", 1, 0)


def _postgres(_asked, answered):
    done = b"COMMIT\0" in answered or b"INSERT 0 1\0" in answered
    return done and answered.endswith(_IDLE)


def _mysql(asked, _answered):
    return asked.endswith(b"\x03COMMIT")


# Whether an answer to a client says that something was committed. What a prepared statement is,
# only the answer tells; and what was done, only the question, where all answers are alike.
_SAYS_COMMITTED = {"postgres": _postgres, "mysql": _mysql}


class Proxy:
    """Carry bytes to a server and back, until told to lose an answer."""

    def __init__(self, port, kind):
        self._target = ("127.0.0.1", port)
        self._says_committed = _SAYS_COMMITTED[kind]
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._listener.getsockname()[1]
        self.lost = 0  # how many answers to COMMIT were lost
        self._lock = threading.Lock()
        self._is_shut = False
        self._every = 0
        self._of = b""
        self._then_shut = False
        self._seen = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, *, every=1, of=b"", then_shut=False):
        """Lose the answer to every so many commits, of those who have said something before."""
        with self._lock:
            self._every, self._of, self._then_shut, self._seen = every, of, then_shut, 0

    def heal(self):
        """Carry everything again, and let everybody in."""
        self._is_shut = False
        self.lose(every=0)

    def shut(self):
        """Let nobody in any more."""
        self._is_shut = True

    def close(self):
        """End it, for those too who are connected."""
        self._is_shut = True
        self._listener.close()

    def _accept(self):
        with suppress(OSError):  # it is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client):
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._carry_on(client, server)
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _carry_on(self, client, server):
        """Carry until an end is reached, or an answer is to be lost: it has come, and stays."""
        asked, is_meant = b"", False
        while not self._is_shut:
            for end in select.select([client, server], [], [], 0.05)[0]:
                data = end.recv(1 << 16)
                if not data:
                    return
                if end is client:
                    asked, is_meant = data, is_meant or self._of in data
                    server.sendall(data)
                elif is_meant and self._says_committed(asked, data) and self._is_lost():
                    return
                else:
                    client.sendall(data)

    def _is_lost(self):
        with self._lock:
            self._seen += 1
            if not self._every or self._seen % self._every:
                return False
            self.lost += 1
            self._is_shut = self._is_shut or self._then_shut
            return True
