"""Work on files in folders where tasks may have planted anything.

A task writes to the spool with the rights of its worker. So a name there may stand for a link to
a file of others, a pipe that lets its reader wait for ever, a device without an end, a folder.
Nothing here follows a link, waits, or reads more than it was told to.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

_DIGITS = 19  # of the largest size that there can be
_PRIVATE = 0o600  # output may hold secrets
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})  # link; folder; pipe, socket
_NO_FOLDER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class NotPlain(OSError):
    """Report that something else than a plain file stands under a name."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "Not a plain file", str(path))


def open_plain(path: Path, flags: int) -> int:
    """Open a plain file and return its descriptor; raises NotPlain for everything else."""
    try:
        descriptor = os.open(path, flags | _SAFE, _PRIVATE)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NotPlain(path) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise NotPlain(path)


def read_plain(path: Path, most: int) -> bytes:
    """Return the beginning of a plain file; raises NotPlain for everything else."""
    descriptor = open_plain(path, os.O_RDONLY)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def write_plain(path: Path, data: bytes) -> None:
    """Make a plain file hold these bytes and no others; raises NotPlain."""
    with os.fdopen(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(data)


def write_number(path: Path, number: int) -> None:
    """Make a plain file hold a number, in place: whoever reads it finds an old one or this."""
    descriptor = open_plain(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(descriptor, str(number).zfill(_DIGITS).encode(), 0)
    finally:
        os.close(descriptor)


def read_number(path: Path) -> int:
    """Return the number in a plain file, 0 where there is none."""
    try:
        return int(read_plain(path, _DIGITS))
    except (OSError, ValueError):
        return 0


def size_of(path: Path) -> int | None:
    """Return the size of a plain file, 0 where nothing is, and None for everything else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def set_mode(folder: Path, mode: int) -> bool:
    """Set the mode of a folder; False where there is none, or only a link to one."""
    try:
        descriptor = os.open(folder, _FOLDER)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            return False
        raise
    try:
        Path(f"/proc/self/fd/{descriptor}").chmod(mode)
    finally:
        os.close(descriptor)
    return True


def remove(path: Path) -> None:
    """Remove whatever stands under a name, if anything does; of a link the link itself."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
