"""Keep what attempts write on the worker's disk until it is stored.

::

    spool/<worker>/<run>.<attempt>/0.rec    records of Python output, one write(2) each
                                   1.out    standard output of a command or of C code
                                   2.err    standard error of the same: see `Output`
                                   shipped  how much of the files above is stored
                                   holes    what the shipper could not read: see `Tail`
                                   gone     the task has removed what was here
                                   cut      what was on its way here is lost
                                   secrets  values that the attempt has named, a line each

The supervisor marks a folder that nobody writes to any more with the sticky bit of its mode: no
other mark can be set on a disk without a free block or inode. An executor whose supervisor has
died marks with the set-group-ID bit that all that its attempt wrote is there; so does a shared one
from the start, for its attempts have no pipes.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from holdfast.core.ids import RunId
from holdfast.core.lazy import lazy
from holdfast.core.models import Lease, Stream
from holdfast.worker.disk import LOOK_FOR_ROOM, lacks_room, when_there_is_room
from holdfast.worker.plain import (
    open_plain,
    remove,
    set_mode,
    write_plain,
)
from holdfast.worker.secrets import SECRETS, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDS, OUT, ERR = "0.rec", "1.out", "2.err"
SHIPPED, GONE, CUT = "shipped", "gone", "cut"
SOURCES = ((0, RECORDS), (1, OUT), (2, ERR))
MAGIC = b"\xf5\xfa"  # no UTF-8 text holds it: the end of a file can be read without its start
HEADER = struct.Struct("<2sBIQ")  # magic, stream, length of the text, microseconds since 1970
LONGEST_RECORD = 32_768  # bytes; a longer text becomes several records
_STREAMS = frozenset(map(int, Stream))
_LATEST = 1 << 62  # microseconds: what a database can hold
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_NAME = re.compile(r"([0-9a-f-]{36})\.([0-9]{1,9})")
FOLDER = 0o700  # mode: output may hold secrets


def folder_of(spool: Path, lease: Lease) -> Path:
    """Return the folder of an attempt."""
    return spool / f"{lease.run_id}.{lease.attempt}"


def lease_of(name: str) -> Lease | None:
    """Return whose folder a name is, or None when it is something else."""
    match = _NAME.fullmatch(name)
    return Lease(RunId(match[1]), int(match[2])) if match else None


def leases_in(spool: Path) -> Iterator[Lease]:
    """Yield the attempts that have a folder."""
    with suppress(FileNotFoundError), os.scandir(spool) as entries:
        for entry in entries:
            lease = lease_of(entry.name)
            if lease is not None and entry.is_dir(follow_symlinks=False):
                yield lease


def is_record(data: bytes, at: int = 0) -> bool:
    """Tell whether a record may begin here, as far as its header is there.

    A task can write to its own record file what it likes; only what we would have written counts.
    """
    if not data.startswith(MAGIC, at):
        return MAGIC.startswith(data[at:])
    if len(data) < at + HEADER.size:
        return len(data) < at + 3 or data[at + 2] in _STREAMS
    _, stream, length, time = HEADER.unpack_from(data, at)
    return stream in _STREAMS and length <= LONGEST_RECORD and time < _LATEST


class SpoolClosed(ValueError):
    """Tell code that outlived its attempt that the log of the attempt is complete."""

    def __init__(self) -> None:
        super().__init__("the attempt has ended, and its log with it")


class AttemptSpool:
    """Write the output of one attempt; the folder is made with the first byte.

    Where the disk is full, or nearly, writing waits until there is room: a line is late then,
    not lost.
    """

    def __init__(
        self,
        spool: Path,
        lease: Lease,
        held_back: Callable[[], bool] = lambda: False,
        *,
        piped: bool = True,
    ) -> None:
        self._spool = spool
        self._piped = piped  # whether it has pipes, in which something may be on its way here
        self.lease = lease
        self._held_back = held_back
        self._records: int | None = None
        self._lock = RLock()  # no record may come into one that waits for room in its middle
        self._waiting = False  # for room, with a record in hand
        self.used = False
        self.closed = False

    @lazy
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
        self.begin()
        for at in range(0, len(data), LONGEST_RECORD):
            while self._held_back() and not self.closed:
                time.sleep(LOOK_FOR_ROOM)
            part = data[at : at + LONGEST_RECORD]
            record = HEADER.pack(MAGIC, stream, len(part), time.time_ns() // 1000) + part
            with self._lock:
                written = 0 if self._waiting else _write(self.begin(), record)
                if written < len(record):
                    self._write_rest(record, written)

    def open(self, name: str) -> int:
        """Open a file of the folder for appending and return its descriptor."""
        return when_there_is_room(partial(self._open, name))

    def name_secret(self, value: str) -> None:
        """Have a value masked from now on: the shipper finds it here before what comes next."""
        descriptor, line = self.open(SECRETS), note(value)
        try:
            while line := line[_write(descriptor, line) :]:
                time.sleep(LOOK_FOR_ROOM)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the record file: what is still written is not the attempt's any more."""
        self.closed = True
        if self._records is not None:
            os.close(self._records)
            self._records = None

    def forked(self) -> None:
        """Learn that this is a forked child: the thread that waited for room is not in it."""
        self._waiting = False
        self._lock = RLock()

    def _open(self, name: str) -> int:
        if self.closed:
            raise SpoolClosed
        self.folder.mkdir(mode=FOLDER, parents=True, exist_ok=True)
        if not (self._piped or self.used):
            mark_whole(self._spool, self.lease)
        self.used = True
        return open_plain(self.folder / name, _APPEND)

    def _write_rest(self, record: bytes, written: int) -> None:
        """Append the rest of a record once there is room, before anything else is appended."""
        waiting, self._waiting = self._waiting, True
        try:
            while written < len(record):
                time.sleep(LOOK_FOR_ROOM)
                written += _write(self.begin(), record[written:])
        except BaseException:  # it was asked to stop: what it never finished is nobody's line
            if self._records is not None:
                os.ftruncate(self._records, os.fstat(self._records).st_size - written)
            raise
        finally:
            self._waiting = waiting


def _write(descriptor: int, data: bytes) -> int:
    """Append what there is room for and return how much that was."""
    try:
        return os.write(descriptor, data)
    except OSError as error:
        if lacks_room(error):
            return 0
        raise


def mark_end(spool: Path, lease: Lease) -> bool:
    """Say that nobody writes to an attempt's folder any more; False when it has none."""
    return set_mode(folder_of(spool, lease), stat.S_ISVTX | FOLDER)


def mark_whole(spool: Path, lease: Lease) -> None:
    """Say that nothing that an attempt wrote is still on its way into its folder."""
    set_mode(folder_of(spool, lease), stat.S_ISGID | FOLDER)


def note_cut(spool: Path, lease: Lease) -> None:
    """Note that the end of a log may be missing, if nobody can have saved what was on its way.

    Whether anything was, nobody can tell. Raises OSError on a full disk; it is to be tried again.
    """
    folder = folder_of(spool, lease)
    if not folder.lstat().st_mode & (stat.S_ISGID | stat.S_ISVTX):
        write_plain(folder / CUT, b"")


def replace_removed(spool: Path, lease: Lease) -> None:
    """Make a folder that says that a task has removed the one that was here."""
    folder = folder_of(spool, lease)
    remove(folder)
    folder.mkdir(mode=FOLDER)
    write_plain(folder / GONE, b"")
    mark_end(spool, lease)


def has_end(folder: Path) -> bool:
    """Tell whether the folder of an attempt is marked; raises OSError without one."""
    mode = folder.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return bool(mode & stat.S_ISVTX)
