"""Lead what an executor and its child processes write on descriptors 1 and 2 into the spool.

Both are pipes. A script that writes to ``/dev/stderr`` opens a pipe once more, where it would
empty a file; and where there is no room, a writer waits all by itself.

The kernel moves the bytes from pipe to file (splice(2)), so that each is in one of the two at any
moment, and whoever moves them may be killed. The supervisor does it, by its `Pump`, and takes
the rest when the executor has died. The executor takes the rest when an attempt ends, and when
its supervisor has died. Only where both are killed in one moment is lost what the pipes held.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import termios
import time
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING

from holdfast.worker.plain import open_plain, remove, size_of
from holdfast.worker.spool import ERR, FOLDER, OUT, folder_of, lease_of, mark_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from holdfast.core.models import Lease

CAPACITY = 1 << 16  # bytes that a pipe holds, pipe(7)
NAMES = {1: OUT, 2: ERR}
_OWNER = 64  # bytes: whose the output is now
_TOUCHED, _HELD_BACK = _OWNER, _OWNER + 1  # places of flags behind it
_TRY_AGAIN = 0.002  # seconds
_LAST_SECONDS = 1.0  # that a dying executor waits for others, and for writes that have begun
SAVE_SECONDS = 2 * _LAST_SECONDS  # the longest that `Output.save` takes
_BEGUN = 2  # milliseconds without a byte: no write is under way any more
_ANYBODY = 0o222  # a command that has changed its user may open /dev/stderr, too
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC  # not O_APPEND: splice(2) refuses it


class Busy(Exception):
    """Tell that another process moves the bytes just now."""


class Output:
    """Be the two pipes of an executor, and a page of memory that it shares with its supervisor.

    The page says whose the output is, so that it goes to the right log; whether anything was
    moved since the attempt began, so that the end of a silent one costs one system call; and
    whether writers have to wait.
    """

    def __init__(self, descriptors: Sequence[int]) -> None:
        self.descriptors = tuple(descriptors)
        self._page, out, out_there, err, err_there = descriptors
        self.reads = {1: out, 2: err}
        self._writes = {1: out_there, 2: err_there}
        self._memory = mmap.mmap(self._page, mmap.PAGESIZE)
        self._lock = RLock()
        self._look = self._poll()
        self.closed = False

    @classmethod
    def make(cls) -> Output:
        """Make the pipes and the page of a new executor; what fails leaves nothing open."""
        made: list[int] = []
        try:
            made.append(os.memfd_create("output"))
            os.ftruncate(made[0], mmap.PAGESIZE)
            for _ in NAMES:
                made += os.pipe()
                os.fchmod(made[-1], _ANYBODY)
            return cls(made)
        except OSError:
            for descriptor in made:
                os.close(descriptor)
            raise

    def write_end(self, stream: int) -> int:
        """Return the descriptor that commands get as their standard output or error."""
        return self._writes[stream]

    def give_away(self) -> None:
        """Close the ends that are for the executor: its death is the end of the pipes."""
        for write in self._writes.values():
            os.close(write)
        self._writes.clear()

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            self.closed = True
            for descriptor in (self._page, *self.reads.values(), *self._writes.values()):
                os.close(descriptor)
            self._memory.close()

    def lay(self) -> None:
        """Make the pipes descriptors 1 and 2 of this process, and of all that it starts."""
        for descriptor, write in self._writes.items():
            os.dup2(write, descriptor, inheritable=True)

    @property
    def owner(self) -> Lease | None:
        """Return whose the output is now."""
        return lease_of(self._memory[:_OWNER].rstrip(b"\0").decode(errors="replace"))

    def belong_to(self, lease: Lease | None) -> None:
        """Note whose the output is from now on; before, the pipes must be empty."""
        name = "" if lease is None else f"{lease.run_id}.{lease.attempt}"
        self._memory[:_OWNER] = name.encode().ljust(_OWNER, b"\0")

    def is_held_back(self) -> bool:
        """Tell whether writers have to wait for room on the disk."""
        return self._memory[_HELD_BACK] != 0

    def hold_back(self, *, yes: bool) -> None:
        """Let writers wait, or go on; of a dead executor there are none."""
        with self._lock:
            if not self.closed:
                self._memory[_HELD_BACK] = yes

    def is_blank(self) -> bool:
        """Tell whether nothing was written since the output got its owner.

        Without the lock: whoever moves bytes says so before they leave the pipe.
        """
        return not self._memory[_TOUCHED] and not self._look.poll(0)

    @contextmanager
    def moving(self, within: float | None = None) -> Iterator[None]:
        """Be the only process, and thread, that moves bytes or changes their owner.

        Raises Busy when another one does for longer than so many seconds (None: any time), and
        when everything was given back.
        """
        with self._lock:
            if self.closed:  # by the thread that has moved the rest
                raise Busy
            self._take(within)
            try:
                yield
            finally:
                fcntl.lockf(self._page, fcntl.LOCK_UN)

    def _take(self, within: float | None) -> None:
        """Lock the page: a lock of the process, which ends with it."""
        if within is None:
            fcntl.lockf(self._page, fcntl.LOCK_EX)
            return
        deadline = time.monotonic() + within
        while True:
            try:
                fcntl.lockf(self._page, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Busy from None
                time.sleep(_TRY_AGAIN)
            else:
                return

    def pour(self, spool: Path, stream: int) -> int:
        """Move what a pipe holds into the log of its owner; return how many bytes that was.

        Only within `moving`. Raises OSError on a full disk, and the pipe keeps what it has.
        """
        size = _held_by(self.reads[stream])
        owner = self.owner
        if not size or owner is None:
            return 0
        self._memory[_TOUCHED] = True
        folder = folder_of(spool, owner)
        folder.mkdir(mode=FOLDER, parents=True, exist_ok=True)
        path = folder / NAMES[stream]
        if size_of(path) is None:
            remove(path)  # a task has planted it
        file = open_plain(path, _APPEND)
        try:
            os.lseek(file, 0, os.SEEK_END)
            return os.splice(self.reads[stream], file, size, flags=os.SPLICE_F_NONBLOCK)
        finally:
            os.close(file)

    def pour_all(self, spool: Path) -> None:
        """Move what both pipes hold now, and make the output blank.

        Only within `moving`. Raises OSError on a full disk; it is to be called again.
        """
        for stream, read in self.reads.items():
            left = _held_by(read)
            while left > 0 and (moved := self.pour(spool, stream)):
                left -= moved
        self._memory[_TOUCHED] = False

    def _poll(self) -> select.poll:
        look = select.poll()
        for read in self.reads.values():
            look.register(read, select.POLLIN)
        return look

    def save(self, spool: Path) -> None:
        """Move what is left, and say that nothing is missing: the supervisor has died, perhaps.

        Where that cannot be done, nothing is said. For an executor that ends, and that has ended
        everything below it: other threads of it wait for ever in their next write.
        """
        with suppress(OSError, Busy), self.moving(_LAST_SECONDS):
            if (owner := self.owner) is None:
                return
            wall = _wall()
            for descriptor in self._writes:
                os.dup2(wall, descriptor)
            deadline, look = time.monotonic() + _LAST_SECONDS, self._poll()
            while look.poll(_BEGUN):
                if time.monotonic() > deadline:
                    return
                self.pour_all(spool)
            mark_whole(spool, owner)


def _wall() -> int:
    """Return a pipe that is full and that nobody reads: who writes to it waits for ever."""
    _, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, bytes(CAPACITY))
    os.set_blocking(write, True)
    return write


def _held_by(pipe: int) -> int:
    size = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return int.from_bytes(size, "little")
