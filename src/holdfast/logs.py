"""Read parts of a log: by byte, by line, by time, from its end, and of one stream only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

from holdfast.core import units
from holdfast.core.errors import BadOption, LogDeleted
from holdfast.core.models import LogChunk, LogLine, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.core.models import Lease, LogEnd
    from holdfast.store.logs import Logs

LONGEST_PART = 1 << 16  # bytes; a longer line comes in parts
_STREAMS = {stream.name.lower(): stream for stream in Stream}


class PartOptions(TypedDict, total=False):
    """Name what chooses a part of a log; what is left out chooses everything."""

    offset: int  # from this byte on
    lines: tuple[int | None, int | None]  # the first and the last one, counted from 1
    tail: int  # the last so many lines, of the stream if one is given
    since: datetime | timedelta | str  # written since: "10m" (ago), an ISO time, a datetime
    until: datetime | timedelta | str
    stream: Stream | str  # "out", "err" or "log"


@dataclass(frozen=True, slots=True)
class LogPart:
    """Choose a part of the log of an attempt: what fits all of it."""

    offset: int = 0
    lines: tuple[int, int | None] = (1, None)
    tail: int | None = None
    since: int | None = None  # microseconds
    until: int | None = None
    stream: Stream | None = None

    def bounds(self, logs: Logs, lease: Lease) -> tuple[int, int | None]:
        """Return the first byte, and the one after the last; None: all that is there or comes.

        The store finds them without reading the log. Times are those of chunks, so up to a second
        too much is read, never too little.
        """
        first, last = self.lines
        begins: list[int | None] = [self.offset]
        ends: list[int | None] = []
        if first > 1:
            begins.append(logs.offset_of_line(lease, first))
        if last is not None:
            ends.append(logs.offset_of_line(lease, last + 1))
        if self.tail is not None:
            begins.append(_tail(logs, lease, self.tail, self.stream))
        if self.since is not None:
            chunk = logs.chunk_of_time(lease, self.since)
            begins.append(chunk.start if chunk else None)
        if self.until is not None:
            chunk = logs.chunk_of_time(lease, self.until)
            ends.append(chunk.start + len(chunk.data) if chunk else None)
        known = [begin for begin in begins if begin is not None]
        if len(known) < len(begins):  # it begins with what is not there yet
            known.append(logs.position(lease).size)
        return max(known), min((end for end in ends if end is not None), default=None)

    def chunks(self, logs: Logs, lease: Lease) -> Iterator[LogChunk]:
        """Yield the stored chunks of the part, the first and the last one cut to it.

        Memory is bounded. The checksum of a chunk that was cut at its end is that of the whole.
        Raises LogDeleted when the retention has deleted the log, or does so meanwhile.
        """
        _check(logs, lease)
        first, last = self.bounds(logs, lease)
        for chunk in logs.iterate(lease, first):
            if last is not None and chunk.start >= last:
                return
            if self.stream in (None, chunk.stream):
                yield chunk if last is None else _cut(chunk, last)
        _check(logs, lease)


def part_of(options: PartOptions) -> LogPart:
    """Return the part that options choose; raises BadOption for what cannot be."""
    since, until, stream = options.get("since"), options.get("until"), options.get("stream")
    first, last = options.get("lines", (None, None))
    part = LogPart(
        offset=options.get("offset", 0),
        lines=(1 if first is None else first, last),
        tail=options.get("tail"),
        since=None if since is None else units.past(since, option="since"),
        until=None if until is None else units.past(until, option="until"),
        stream=None if stream is None else _stream(stream),
    )
    units.check_whole(part.offset, option="offset", low=0, high=1 << 62)
    units.check_whole(part.lines[0], option="lines", low=1, high=1 << 62)
    if last is not None:
        units.check_whole(last, option="lines", low=part.lines[0], high=1 << 62)
    if part.tail is not None:
        units.check_whole(part.tail, option="tail", low=1, high=1 << 62)
    return part


def lines_of(chunks: Iterable[LogChunk]) -> Iterator[LogLine]:
    """Yield the lines of chunks, each in one piece if it can be: see `Lines`."""
    lines = Lines()
    for chunk in chunks:
        yield from lines.take(chunk)
    yield from lines.rest()


class Lines:
    """Make lines of the chunks of a log as they come.

    A line comes in parts when it is longer than 64 KiB, when another stream wrote in the middle
    of it, or when the chunks end before it does.
    """

    def __init__(self) -> None:
        self._part: LogLine | None = None

    def take(self, chunk: LogChunk) -> Iterator[LogLine]:
        """Yield the lines that end in the next chunk."""
        part, self._part = self._part, None
        number, offset, data = chunk.line + 1, chunk.start, chunk.data
        if part is not None and _continues(part, chunk):
            number, offset, data = part.number, part.offset, part.data + data
        elif part is not None:
            yield part
        *whole, rest = data.split(b"\n")
        for text in whole:
            yield LogLine(number, offset, chunk.stream, chunk.at, text, ends=True)
            number, offset = number + 1, offset + len(text) + 1
        if rest:
            self._part = LogLine(number, offset, chunk.stream, chunk.at, rest, ends=False)
        if len(rest) >= LONGEST_PART:
            yield from self.rest()

    def rest(self) -> Iterator[LogLine]:
        """Yield what is left of a line that has not ended."""
        part, self._part = self._part, None
        if part is not None:
            yield part


def deletion_of(lease: Lease, end: LogEnd | None) -> LogDeleted | None:
    """Return what there is to say of a log whose bytes the retention has deleted."""
    if end is None or end.deleted_at is None:
        return None
    return LogDeleted(**lease._asdict(), lines=end.lines, size=end.size, at=end.deleted_at)


def _check(logs: Logs, lease: Lease) -> None:
    deleted = deletion_of(lease, logs.end(lease))
    if deleted is not None:
        raise deleted


def _continues(part: LogLine, chunk: LogChunk) -> bool:
    return (part.stream, part.offset + len(part.data)) == (chunk.stream, chunk.start)


def _tail(logs: Logs, lease: Lease, count: int, stream: Stream | None) -> int:
    """Return where the last so many lines of a log, or of a stream of it, begin."""
    newlines = 0  # that must be passed, from the end; the one at the very end counts as well
    for chunk in logs.backwards(lease):
        if stream not in (None, chunk.stream):
            continue
        newlines = newlines or count + chunk.data.endswith(b"\n")
        if chunk.lines >= newlines:
            offset = 0
            for _ in range(chunk.lines - newlines + 1):
                offset = chunk.data.index(b"\n", offset) + 1
            return chunk.start + offset
        newlines -= chunk.lines
    return 0


def _cut(chunk: LogChunk, end: int) -> LogChunk:
    if chunk.start + len(chunk.data) <= end:
        return chunk
    data = chunk.data[: end - chunk.start]
    return chunk._replace(data=data, lines=data.count(b"\n"))


def _stream(value: Stream | str) -> Stream:
    found = value if isinstance(value, Stream) else _STREAMS.get(str(value))
    if found is None:
        raise BadOption(option="stream", value=value, expected=" or ".join(map(repr, _STREAMS)))
    return found
