"""Clocks of processes that a test moves, by libfaketime."""

from __future__ import annotations

from pathlib import Path

SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""


class FakedClock:
    """A clock in a file: every process that is started `under` it sees the time that it says."""

    def __init__(self, file, *, monotonic=True):
        self._file = file
        self.set("+0")
        steady = ["FAKETIME_DONT_FAKE_MONOTONIC=1", f"PYTHONPATH={sleep_well(file.parent)}"]
        self.under = [
            "env",
            f"LD_PRELOAD={library()}",
            f"FAKETIME_TIMESTAMP_FILE={file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_RESET=1",
            "NO_FAKE_STAT=1",
            *([] if monotonic else steady),
        ]

    def set(self, shift):
        """Move it against the real one: "+3600", "-1h", "+10y"."""
        new = self._file.with_suffix(".new")
        new.write_text(shift)
        new.rename(self._file)


def sleep_well(folder):
    """Return a folder with a module that lets Python sleep beside a clock that is not faked.

    libfaketime takes the monotonic time up to which time.sleep waits for one that it has faked
    itself, and refuses to wait.
    """
    place = folder / "sleep"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(SLEEP)
    return place


def library():
    """The library that shows processes another time."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    assert found, "libfaketime is missing: make system"
    return str(found[0])
