"""Tell from outside when runs were carried out: each appends the time to one shared file.

It is the only thing that the no-op task of every contestant does. The file lies in memory, an
append is atomic, and the monotonic clock is the same for all processes of a host, so rates and
latencies are read from the file alone: no contestant is asked how fast it was.
"""

from __future__ import annotations

import os
import struct
import time
from array import array
from pathlib import Path

VARIABLE = "BENCH_WITNESS"
_TIME = struct.Struct("q")
_fds: dict[str, int] = {}


def sign() -> None:
    """Append the time: the whole work of a no-op task."""
    now = time.monotonic_ns()
    path = os.environ[VARIABLE]
    if path not in _fds:
        _fds[path] = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(_fds[path], _TIME.pack(now))


class Witness:
    """Read what the tasks of one worker have signed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def count(self) -> int:
        """Return how many runs were carried out so far."""
        return self.path.stat().st_size // _TIME.size

    def times(self) -> array[int]:
        """Return when each was carried out, in nanoseconds of the monotonic clock."""
        times = array("q", self.path.read_bytes())
        return array("q", sorted(times))

    @staticmethod
    def last(path: Path) -> int:
        """Return the newest time in a file."""
        with path.open("rb") as file:
            file.seek(-_TIME.size, os.SEEK_END)
            return _TIME.unpack(file.read())[0]  # type: ignore[no-any-return]

    def rate(self, first: int, last: int) -> float:
        """Return runs per second between two of them."""
        times = self.times()
        last = min(last, len(times) - 1)
        return (last - first) / ((times[last] - times[first]) / 1e9)
