"""Own the folder of a worker in the spool, and take over that of a dead one."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from holdfast.core.ids import is_id
from holdfast.worker.plain import is_folder, open_plain, read_plain, remove, write_plain
from holdfast.worker.spool import FOLDER, folder_of, leases_in, mark_end, note_cut

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from holdfast.core.models import Lease

LOCK = "lock"
_LONGEST_URL = 8192  # bytes


def found(spool: Path, store: str) -> int:
    """Make a worker's folder, name its store in it, and return the descriptor of its lock."""
    spool.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    write_plain(spool / LOCK, store.encode())
    lock = own(spool)
    assert lock is not None, "the folder of a new worker has one owner"
    return lock


def is_left_by(stores: Collection[str], spool: Path) -> bool:
    """Tell whether a folder is that of a worker of a store, and nothing else of the same name.

    The store may have several addresses: it may have been moved.
    """
    try:
        mine = is_id(spool.name) and is_folder(spool)
        named = {store.encode() for store in stores}
        return mine and read_plain(spool / LOCK, _LONGEST_URL) in named
    except OSError:
        return False


def own(spool: Path) -> int | None:
    """Take a worker's folder and return the descriptor of its lock.

    The lock is held as long as the descriptor is open, so that it ends with its process. None
    when another process has it: the folder's worker lives, or somebody else took it over.
    """
    lock = open_plain(spool / LOCK, os.O_RDONLY)
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
    leases = list(leases_in(left))
    for lease in leases:
        note_cut(left, lease)
        mark_end(left, lease)
        remove(folder_of(spool, lease))  # no attempt of ours has that name
        folder_of(left, lease).rename(folder_of(spool, lease))
    shutil.rmtree(left, ignore_errors=True)
    return leases
