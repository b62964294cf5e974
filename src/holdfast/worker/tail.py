"""Follow the files of one attempt, and give the disk back what is stored of them."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.core.models import Hole, LogEnd
from holdfast.worker.disk import punch_hole
from holdfast.worker.lastlines import TAIL
from holdfast.worker.plain import is_folder, open_plain, read_plain, remove, size_of, write_number
from holdfast.worker.secrets import SECRETS, mask_of
from holdfast.worker.spool import CUT, GONE, SHIPPED, SOURCES, has_end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.core.masking import Mask
    from holdfast.core.models import Lease, LogPosition

HOLES = "holes"  # file of a folder whose record file was damaged
_HOLE = re.compile(rb"^([0-9]{1,15}) ([0-9]{1,15}) ([0-9]{1,15})$", re.MULTILINE)
_MOST_HOLES = 100  # that are told one by one
_LONGEST_HOLES = 1 << 20  # bytes
HOLD_SECONDS = 3.0  # how long what may be half a secret waits for the other half
FREE_STEP = 1 << 20  # bytes that are freed at once
_KEPT = 4 * TAIL  # bytes before the end of what is stored that stay: certificates show them


@dataclass(slots=True)
class Source:
    """Be one growing file of an attempt's folder."""

    number: int
    path: Path
    offset: int  # up to here it is stored
    size: int = 0  # at the last look
    freed: int = 0  # up to here its blocks were given back
    waiting_since: float | None = None  # monotonic; when the first byte after it was seen
    held_since: tuple[int, float] | None = None  # from which offset on something is held back

    @property
    def unsent(self) -> int:
        """Return how many bytes wait."""
        return max(0, self.size - self.offset)

    def read(self, size: int) -> bytes:
        """Return what follows, at most so many bytes."""
        with self._opened(os.O_RDONLY) as descriptor:
            return os.pread(descriptor, size, self.offset)

    def is_held_too_long(self, offset: int, now: float) -> bool:
        """Tell whether what follows an offset was held back for long, as half a secret."""
        if self.held_since is None or self.held_since[0] != offset:
            self.held_since = offset, now
        return now - self.held_since[1] >= HOLD_SECONDS

    def free(self) -> None:
        """Free what is stored, a step at a time, where the file system can do that."""
        end = (self.offset - _KEPT) // FREE_STEP * FREE_STEP
        if end > self.freed:
            with self._opened(os.O_RDWR) as descriptor:
                punch_hole(descriptor, self.freed, end)
            self.freed = end

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        """Open the file for a moment: so no number of logs uses up the descriptors."""
        descriptor = open_plain(self.path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class Tail:
    """Be the log of one attempt on its way."""

    def __init__(self, lease: Lease, folder: Path, position: LogPosition, known: Mask) -> None:
        self._known = self._mask = known
        self._named: int | None = 0  # bytes of the file with what the attempt named itself
        self.lease = lease
        self.folder = folder
        self.position = position
        stored = dict(position.sources)
        self.sources = [Source(n, folder / name, stored.get(n, 0)) for n, name in SOURCES]
        self.ended = False
        self._seen = False
        self._shipped = 0  # as it was noted last
        self._planted: set[str] = set()  # names of files that are no files any more

    def look(self) -> bool:
        """Note how far the files have grown and whether the attempt is over.

        False when the folder is gone: the supervisor is dead, and another one took it over.
        """
        try:
            if not self.ended:
                ended = has_end(self.folder)  # first: then the sizes below are final
                for source in self.sources:
                    self._measure(source)
                has_end(self.folder)  # of a folder that has gone meanwhile all files seem empty
                self.ended, self._seen = ended, True
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def end(self) -> LogEnd | None:
        """Return the final record once all is stored; None before, and when the folder is gone."""
        if not self.ended or self.unsent:
            return None
        size, lines, crc, *_ = self.position
        end = LogEnd(size, lines, crc, self.missing(), self.holes())
        return end if is_folder(self.folder) else None

    @property
    def unsent(self) -> int:
        """Return how many bytes wait."""
        return sum(source.unsent for source in self.sources)

    @property
    def quiet(self) -> bool:
        """Tell whether there was nothing to do for it at the last look."""
        return self._seen and not self.ended and not self.unsent

    def mask(self) -> Mask:
        """Return the mask for what was read before: a secret is named before it is written."""
        size = size_of(self.folder / SECRETS)
        if size != self._named:
            self._mask, self._named = mask_of(self._known, self.folder), size
        return self._mask

    def note_hole(self, offset: int, length: int) -> None:
        """Remember bytes that are no records: the file was damaged, by a power cut perhaps."""
        if size_of(self.folder / HOLES) is None:
            remove(self.folder / HOLES)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with os.fdopen(open_plain(self.folder / HOLES, flags), "a") as file:
            file.write(f"{offset} {length} {self.position.size}\n")

    def missing(self) -> str | None:
        """Return one sentence on what could not be read, or None."""
        sentences = []
        if holes := self._noted():
            count = sum(hole.size for hole in holes)
            problem = "of Python output were damaged in the spool and cannot be read."
            sentences.append(f"{count} bytes {problem}")
        if (self.folder / GONE).exists():
            sentences.append("The task has removed its log from the spool before it was stored.")
        if (self.folder / CUT).exists():
            sentences.append(
                "Its worker and its executor were killed in one moment: of what commands or C code "
                "wrote last, up to 64 KiB on each stream may be missing."
            )
        if self._planted:
            names = " and ".join(sorted(self._planted))
            sentences.append(f"The task has put something else in place of {names} in the spool.")
        return " ".join(sentences) or None

    def holes(self) -> tuple[Hole, ...]:
        """Return where in the log bytes are missing, of the first holes."""
        return tuple(self._noted()[:_MOST_HOLES])

    def _noted(self) -> list[Hole]:
        if not size_of(self.folder / HOLES):
            return []
        noted = _HOLE.findall(read_plain(self.folder / HOLES, _LONGEST_HOLES))
        last = {int(offset): (int(at), int(size)) for offset, size, at in noted}  # retries note too
        return sorted(Hole(at, size) for at, size in last.values())

    def free(self) -> None:
        """Give the disk back what is stored, and note how much it is: see `Guard`."""
        shipped = sum(source.offset for source in self.sources)
        if shipped < self._shipped + FREE_STEP:
            return
        with suppress(OSError):  # the next time will do
            for source in self.sources:
                source.free()
            write_number(self.folder / SHIPPED, shipped)
            self._shipped = shipped

    def _measure(self, source: Source) -> None:
        """Note the size of a file; what a task has put in its place has nothing to read."""
        size = size_of(source.path)
        if size is None:
            self._planted.add(source.path.name)
        source.size = source.offset if size is None else size
