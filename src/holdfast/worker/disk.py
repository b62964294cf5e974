"""Ask a file system for what the spool needs to know, and give it back what is not needed."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

LOOK_FOR_ROOM = 0.02  # seconds between two tries
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # it goes on when that is mended
_BLOCK = 65_536  # bytes, a whole number of blocks everywhere
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # fallocate(2)
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class Room(NamedTuple):
    """Hold what a file system says of itself."""

    total: int  # bytes; 0: it does not say
    free: int  # bytes that others than root may take
    inodes: int = 0
    inodes_free: int = 0
    writable: bool = True


def room_on(folder: Path) -> Room:
    """Ask the file system of a folder."""
    now = os.statvfs(folder)
    total = now.f_blocks * now.f_frsize
    return Room(
        total=total,
        free=now.f_bavail * now.f_frsize if total else sys.maxsize,
        inodes=now.f_files,
        inodes_free=now.f_favail,
    )


def can_write_on(folder: Path) -> bool:
    """Try whether a file system can be written; one that broke down does not say so by itself."""
    try:
        os.utime(folder)
    except OSError:
        return False
    return True


def lacks_room(error: OSError) -> bool:
    """Tell whether there was only no room: no block, no inode, no quota, no right to write."""
    return error.errno in _NO_ROOM


def when_there_is_room(work: Callable[[], T]) -> T:
    """Do something on a disk, again and again while it is full; other errors pass."""
    while True:
        try:
            return work()
        except OSError as error:
            if not lacks_room(error):
                raise
        time.sleep(LOOK_FOR_ROOM)


def until(done: Callable[[], bool]) -> None:
    """Wait until something that a full disk prevents could be done."""
    while not done():
        time.sleep(LOOK_FOR_ROOM)


def mount_of(place: str | os.PathLike[str], mounts: str | None = None) -> tuple[str, str]:
    """Return where the file system of a place is mounted, and its type.

    `mounts` is the text of proc_pid_mountinfo(5), that of this process unless given.
    """
    mounts = mounts or Path("/proc/self/mountinfo").read_text(errors="replace")
    real = os.path.realpath(place)
    found, longest = ("/", "unknown"), -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:  # noqa: PLR2004 - the mount point is the fifth
            continue
        point = fields[4].encode().decode("unicode_escape").rstrip("/")
        if (real == point or real.startswith(f"{point}/")) and len(point) >= longest:
            found, longest = (point or "/", after.split()[0]), len(point)
    return found


def punch_hole(descriptor: int, start: int, end: int) -> bool:
    """Free the blocks of a range of a file, which then reads as zeros; its size stays.

    False when its file system cannot do that; raises OSError when it can and did not.
    """
    arguments = map(ctypes.c_longlong, (start, end - start))
    if _fallocate()(descriptor, _KEEP_SIZE | _PUNCH_HOLE, *arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code))


def can_free(folder: Path) -> bool:
    """Try whether a file system can free a part of a file."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_BLOCK))
        file.flush()
        return punch_hole(file.fileno(), 0, _BLOCK)


@cache
def _fallocate() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    return getattr(library, "fallocate64", None) or library.fallocate  # musl has but the latter
