"""Keep what attempts write on the worker's disk until it is stored.

::

    spool/<worker>/<run>.<attempt>/0.rec    records of Python output, one write(2) each
                                   1.out    standard output of a command or of C code
                                   2.err    standard error of the same
                                   end      nobody writes any more: written by the supervisor
    spool/<worker>/<n>.out, <n>.err         blank sheets: see `Sheets`
    spool/<worker>/<n>.now                  whose sheets those of executor n are
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import shutil
import struct
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.ids import RunId, is_id
from holdfast.core.models import Lease, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS, OUT, ERR, END = "0.rec", "1.out", "2.err", "end"
LOCK = "lock"
SOURCES = ((0, RECORDS), (1, OUT), (2, ERR))
MAGIC = b"\xf5\xfa"  # no UTF-8 text holds it: the end of a file can be read without its start
HEADER = struct.Struct("<2sBIQ")  # magic, stream, length of the text, microseconds since 1970
LONGEST_RECORD = 32_768  # bytes; a longer text becomes several records
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_NAME = re.compile(r"([0-9a-f-]{36})\.(\d+)")
_TAIL = 16_384  # bytes looked at for the last lines
_OWNER_BYTES = 64
_PRIVATE = 0o600  # output may hold secrets


def folder_of(spool: Path, lease: Lease) -> Path:
    """Return the folder of an attempt."""
    return spool / f"{lease.run_id}.{lease.attempt}"


def lease_of(name: str) -> Lease | None:
    """Return whose folder a name is, or None when it is something else."""
    match = _NAME.fullmatch(name)
    return Lease(RunId(match[1]), int(match[2])) if match else None


def leases_in(spool: Path) -> Iterator[Lease]:
    """Yield the attempts that have a folder."""
    with suppress(FileNotFoundError):
        for name in os.listdir(spool):
            lease = lease_of(name)
            if lease is not None:
                yield lease


class SpoolClosed(ValueError):
    """Tell code that outlived its attempt that the log of the attempt is complete."""

    def __init__(self) -> None:
        super().__init__("the attempt has ended, and its log with it")


class AttemptSpool:
    """Write the output of one attempt; the folder is made with the first byte."""

    def __init__(self, spool: Path, lease: Lease) -> None:
        self._spool = spool
        self.lease = lease
        self._records: int | None = None
        self.used = False
        self.closed = False

    @cached_property
    def folder(self) -> Path:
        """Return the folder of the attempt; it need not be there yet."""
        return folder_of(self._spool, self.lease)

    def begin(self) -> int:
        """Open the record file, if it is not open yet, and return its descriptor.

        Raises SpoolClosed once the attempt has ended: the log says that it is complete.
        """
        if self.closed:
            raise SpoolClosed
        if self._records is None:
            self._records = self.open(RECORDS)
        return self._records

    def write(self, stream: Stream, data: bytes) -> None:
        """Append one record in one system call: whatever dies afterwards, it is there."""
        records = self.begin()
        for at in range(0, len(data), LONGEST_RECORD):
            part = data[at : at + LONGEST_RECORD]
            record = HEADER.pack(MAGIC, stream, len(part), time.time_ns() // 1000) + part
            written = os.write(records, record)
            while written < len(record):  # a full disk takes a part; the rest follows or raises
                written += os.write(records, record[written:])

    def open(self, name: str) -> int:
        """Open a file of the folder for appending and return its descriptor."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.used = True
        return os.open(self.folder / name, _APPEND, _PRIVATE)

    def adopt(self, sheet: Path, name: str) -> None:
        """Take a written sheet as a file of the folder."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.used = True
        sheet.rename(self.folder / name)

    def close(self) -> None:
        """Close the record file: what is still written is not the attempt's any more."""
        self.closed = True
        if self._records is not None:
            os.close(self._records)
            self._records = None


class Sheets:
    """Catch what bypasses Python's streams: descriptors 1 and 2 of an exclusive executor.

    They point to two blank files. An attempt that leaves them blank costs two fstat calls. One
    that writes on them gets them: the file moves into its folder, where the shipper finds it,
    and the next attempt finds blank ones. Whose they are now stands in a page of shared memory,
    a file that outlives the executor, whatever kills it.
    """

    def __init__(self, spool: Path, number: int) -> None:
        self._files = {1: (spool / f"{number}.out", OUT), 2: (spool / f"{number}.err", ERR)}
        self._taken: set[int] = set()
        with (spool / f"{number}.now").open("w+b") as file:
            file.truncate(_OWNER_BYTES)
            self._owner = mmap.mmap(file.fileno(), _OWNER_BYTES)
        for descriptor in self._files:
            self._lay(descriptor)

    def _lay(self, descriptor: int) -> None:
        path, _ = self._files[descriptor]
        blank = os.open(path, _APPEND, _PRIVATE)
        if blank == descriptor:  # it was closed, and so the lowest one that is free
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no names
            return
        os.dup2(blank, descriptor, inheritable=True)
        os.close(blank)

    def belong_to(self, lease: Lease) -> None:
        """Note whose the sheets are from now on."""
        self._owner[:] = f"{lease.run_id}.{lease.attempt}".ljust(_OWNER_BYTES).encode()

    def give(self, spool: AttemptSpool) -> None:
        """Move sheets that were written on into the folder of the attempt; writing goes on."""
        for descriptor, (path, name) in self._files.items():
            if descriptor not in self._taken and self._is_written(descriptor):
                spool.adopt(path, name)
                self._taken.add(descriptor)

    def _is_written(self, descriptor: int) -> bool:
        try:
            return os.fstat(descriptor).st_size > 0
        except OSError:  # user code has closed it
            self._lay(descriptor)
            return False

    def renew(self) -> None:
        """Lay blank sheets where the attempt took them."""
        for descriptor in self._taken:
            self._lay(descriptor)
        self._taken.clear()


def rescue_sheets(spool: Path, number: int) -> None:
    """Give what a dead executor left on its sheets to the attempt it died under."""
    now = spool / f"{number}.now"
    try:
        lease = lease_of(now.read_text().strip("\0 "))
    except FileNotFoundError:
        return  # a shared executor, or one that never got so far
    for suffix, name in ((".out", OUT), (".err", ERR)):
        path = spool / f"{number}{suffix}"
        with suppress(FileNotFoundError):
            if path.stat().st_size and lease is not None:
                AttemptSpool(spool, lease).adopt(path, name)
            else:
                path.unlink()
    now.unlink()


def found(spool: Path, store: str) -> int:
    """Make a worker's folder, name its store in it, and return the descriptor of its lock."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    (spool / LOCK).write_text(store)
    lock = own(spool)
    assert lock is not None, "the folder of a new worker has one owner"
    return lock


def is_left_by(store: str, spool: Path) -> bool:
    """Tell whether a folder is that of a worker of a store, and nothing else of the same name."""
    try:
        return is_id(spool.name) and (spool / LOCK).read_text() == store
    except OSError:
        return False


def own(spool: Path) -> int | None:
    """Take a worker's folder and return the descriptor of its lock.

    The lock is held as long as the descriptor is open, so that it ends with its process. None
    when another process has it: the folder's worker lives, or somebody else took it over.
    """
    lock = os.open(spool / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def adopt(spool: Path, left: Path) -> list[Lease]:
    """Take over the folder that a dead worker on this host left; return whose logs were there.

    None of its processes may be alive any more, and the caller must own it.
    """
    for now in left.glob("*.now"):
        rescue_sheets(left, int(now.stem))
    leases = list(leases_in(left))
    for lease in leases:
        mark_end(left, lease)
        folder_of(left, lease).rename(folder_of(spool, lease))
    shutil.rmtree(left, ignore_errors=True)
    return leases


def mark_end(spool: Path, lease: Lease) -> bool:
    """Say that nobody writes to an attempt's folder any more; False when it has none."""
    try:
        os.close(os.open(folder_of(spool, lease) / END, _APPEND, _PRIVATE))
    except FileNotFoundError:
        return False
    return True


def last_lines(spool: Path, lease: Lease, count: int = 5) -> list[str]:
    """Return the last lines of each file of an attempt, the file written last at the end."""
    folder = folder_of(spool, lease)
    files = [folder / name for _, name in SOURCES if (folder / name).exists()]
    if not files:
        return []
    files.sort(key=lambda file: file.stat().st_mtime_ns)
    return [line for file in files for line in _last_lines_of(file, count)]


def _last_lines_of(path: Path, count: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        data = file.read()
    if path.name == RECORDS:
        data = b"".join(_texts(data))
    return [line.decode(errors="replace")[:500] for line in data.splitlines()[-count:]]


def _texts(records: bytes) -> Iterator[bytes]:
    at = records.find(MAGIC)
    while 0 <= at <= len(records) - HEADER.size:
        _, _, length, _ = HEADER.unpack_from(records, at)
        start = at + HEADER.size
        yield records[start : start + length]
        at = records.find(MAGIC, start + length)
