"""Search a log of any size for a text or a regular expression, line by line."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import BadOption, SearchTooSlow
from holdfast.core.models import LogChunk, LogLine
from holdfast.logs import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from holdfast.core.models import Stream

LONGEST_TEXT = 1000  # characters
OVERLAP = 4096  # bytes: a hit that crosses two parts of a very long line is found up to this size
SLOWEST = 1.0  # seconds that one line may take
_MOST_HITS = 100  # that are noted in one line
_LEAST_WAITING = 8  # chunks without a hit that are kept: one may begin in them,
_MOST_WAITING = 1 << 20  # and bytes, for the lines before a hit


class Pattern:
    """Find a text in lines of bytes, or what a regular expression describes.

    Regular expressions see each line as text (UTF-8), without its newline. They run with a time
    limit, because some need ages: those raise SearchTooSlow.
    """

    def __init__(self, text: str, *, regex: bool = False, ignore_case: bool = False) -> None:
        if not text or len(text) > LONGEST_TEXT:
            expected = f"1 to {LONGEST_TEXT} characters"
            raise BadOption(option="search", value=text[:LONGEST_TEXT], expected=expected)
        self._text = text
        self._bytes = None if regex or ignore_case else text.encode("utf-8", "surrogateescape")
        self._limited = regex
        self._compiled = _compile(text, ignore_case=ignore_case) if regex else None
        self._lower: bytes | None = None
        if ignore_case and not regex:  # nothing in it can take long
            self._compiled = re.compile(re.escape(text), re.IGNORECASE)
            self._lower = text.lower().encode() if text.isascii() else None

    def may_be_in(self, data: bytes) -> bool:
        """Tell whether it is worth looking at the lines of these bytes."""
        if self._bytes is not None:
            return self._bytes in data
        return self._lower is None or not data.isascii() or self._lower in data.lower()

    def find(self, data: bytes) -> list[tuple[int, int]]:
        """Return offset and length of each place in a line where it is found, up to a hundred."""
        if self._bytes is not None:
            return list(_places(self._bytes, data))
        assert self._compiled is not None
        text = data.decode("utf-8", "surrogateescape")
        limit: dict[str, Any] = {"timeout": SLOWEST} if self._limited else {}
        found: list[tuple[int, int]] = []
        try:
            for match in self._compiled.finditer(text, **limit):
                found.append((_size(text[: match.start()]), _size(match[0])))
                if len(found) == _MOST_HITS:
                    break
        except TimeoutError as error:
            raise SearchTooSlow(pattern=self._text, seconds=SLOWEST) from error
        return found


def search(chunks: Iterable[LogChunk], pattern: Pattern, context: int = 0) -> Iterator[LogLine]:
    """Yield the lines that hold the pattern, with `hits`, and so many lines around each."""
    found = Search(pattern, context)
    for chunk in chunks:
        yield from found.take(chunk)
    yield from found.rest()


class Search:
    """Search the chunks of a log as they come, holding a few of them at a time.

    It yields the lines with hits and so many lines around each; those in between have no hits.
    A step in their numbers says that some were left out.
    """

    def __init__(self, pattern: Pattern, context: int = 0) -> None:
        self._pattern = pattern
        self._context = context
        self._lines = Lines()
        self._waiting = _Waiting(context)
        self._before: deque[LogLine] = deque(maxlen=context)
        self._after = 0  # lines that are still to be shown
        self._tails: dict[Stream, bytes] = {}
        self._reading: set[Stream] = set()  # in the middle of a line that is looked at
        self._open: dict[Stream, list[tuple[int, bytes]]] = {}  # the ends of unfinished lines

    def take(self, chunk: LogChunk) -> Iterator[LogLine]:
        """Yield what the next chunk makes worth showing."""
        seen = self._tails.get(chunk.stream, b"") + chunk.data
        self._tails[chunk.stream] = seen[-OVERLAP:]
        self._waiting.add(chunk)
        if self._after or chunk.stream in self._reading or self._pattern.may_be_in(seen):
            for read in self._waiting.take():
                self._reading.discard(read.stream)
                if not read.data.endswith(b"\n"):
                    self._reading.add(read.stream)
                for line in self._lines.take(read):
                    yield from self._show(line)
        elif self._waiting.drop():
            self._before.clear()

    def rest(self) -> Iterator[LogLine]:
        """Yield what is worth showing of a line that has not ended."""
        for line in self._lines.rest():
            yield from self._show(line)

    def _show(self, line: LogLine) -> Iterator[LogLine]:
        hits = self._find(line)
        if hits:
            yield from self._before
            self._before.clear()
            yield line._replace(hits=hits)
            self._after = self._context
        elif self._after:
            yield line
            self._after -= line.ends
        else:
            self._before.append(line)

    def _find(self, line: LogLine) -> tuple[tuple[int, int], ...]:
        """Search a line; of a part also what begins in the parts before it."""
        parts = [*self._open.pop(line.stream, ()), (line.offset, line.data)]
        head = sum(len(data) for _, data in parts[:-1])
        hits = self._pattern.find(b"".join(data for _, data in parts))
        if not line.ends:
            self._open[line.stream] = _ends_of(parts)
        return tuple(
            (_place(parts, at), size) for at, size in hits if at >= head or at + size > head
        )


def _ends_of(parts: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return offset and bytes of the last parts, no more than a hit may have."""
    kept: list[tuple[int, bytes]] = []
    room = OVERLAP
    for offset, data in reversed(parts):
        if room:
            end = data[-room:]
            kept.insert(0, (offset + len(data) - len(end), end))
            room -= len(end)
    return kept


def _place(parts: Sequence[tuple[int, bytes]], at: int) -> int:
    """Return the offset in the log of a place in parts that are read as one."""
    for offset, data in parts:
        if at < len(data):
            return offset + at
        at -= len(data)
    offset, data = parts[-1]
    return offset + len(data)


class _Waiting:
    """Keep the last chunks, as much of them as may have to be shown before a hit."""

    def __init__(self, lines: int) -> None:
        self._most = lines
        self._chunks: deque[LogChunk] = deque()
        self._lines = self._size = 0

    def add(self, chunk: LogChunk) -> None:
        """Add the next chunk."""
        self._chunks.append(chunk)
        self._lines += chunk.lines
        self._size += len(chunk.data)

    def drop(self) -> bool:
        """Drop the first ones, if there are too many, and tell whether there were."""
        count = len(self._chunks)
        while len(self._chunks) > _LEAST_WAITING and self._is_too_much():
            first = self._chunks.popleft()
            self._lines -= first.lines
            self._size -= len(first.data)
        return len(self._chunks) < count

    def _is_too_much(self) -> bool:
        return self._size > _MOST_WAITING or self._lines - self._chunks[0].lines > self._most

    def take(self) -> list[LogChunk]:
        """Return what is kept, and keep nothing."""
        chunks = list(self._chunks)
        self._chunks.clear()
        self._lines = self._size = 0
        return chunks


def _places(text: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    at = data.find(text)
    for _ in range(_MOST_HITS):
        if at < 0:
            return
        yield at, len(text)
        at = data.find(text, at + len(text))


def _compile(text: str, *, ignore_case: bool) -> Any:
    import regex  # unlike `re` it takes a time limit, also in threads

    try:
        return regex.compile(text, regex.IGNORECASE if ignore_case else 0)
    except (regex.error, RecursionError, OverflowError) as error:
        expected = f"a regular expression; {error}"
        raise BadOption(option="search", value=text, expected=expected) from error


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
