"""Read the last lines of an attempt from the spool, for its certificate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from holdfast.worker.plain import open_plain, size_of
from holdfast.worker.spool import HEADER, MAGIC, RECORDS, SOURCES, folder_of, is_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.core.masking import Mask
    from holdfast.core.models import Lease

TAIL = 16_384  # bytes looked at for the last lines


def last_lines(spool: Path, lease: Lease, mask: Mask, count: int = 5) -> list[str]:
    """Return the last lines of each file of an attempt, the file written last at the end."""
    folder = folder_of(spool, lease)
    try:
        files = [folder / name for _, name in SOURCES if size_of(folder / name)]
        files.sort(key=lambda file: file.stat().st_mtime_ns)
        return [line for file in files for line in _last_lines_of(file, mask, count)]
    except OSError:  # a sick disk must not hide how the attempt ended
        return []


def _last_lines_of(path: Path, mask: Mask, count: int) -> list[str]:
    with os.fdopen(open_plain(path, os.O_RDONLY), "rb") as file:
        start = file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        data = file.read(TAIL)
    if path.name == RECORDS:
        data = b"".join(_texts(data))
    if start and mask:
        data = data[data.find(b"\n") + 1 :]  # what stands before may be half a secret
    data = mask.apply(data)
    return [line.decode(errors="replace")[:500] for line in data.splitlines()[-count:]]


def _texts(records: bytes) -> Iterator[bytes]:
    at = records.find(MAGIC)
    while 0 <= at <= len(records) - HEADER.size:
        length = HEADER.unpack_from(records, at)[2] if is_record(records, at) else 0
        start = at + (HEADER.size if length else len(MAGIC))
        yield records[start : start + length]
        at = records.find(MAGIC, start + length)
