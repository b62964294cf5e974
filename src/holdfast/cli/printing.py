"""Print logs: byte for byte, harmlessly in a terminal, as JSON, or the lines of a search."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from holdfast.cli.harmless import Harmless
from holdfast.cli.tables import as_json, iso_time
from holdfast.core.models import LogChunk, LogEnd, LogLine, Stream
from holdfast.logs import Lines
from holdfast.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable


class Printer(Protocol):
    """Print the log of one attempt after the other, or of several in turn."""

    def chunk(self, attempt: int, chunk: LogChunk) -> None:
        """Print what is next."""
        ...

    def end(self, attempt: int, end: LogEnd | None) -> None:
        """Print what was kept back; nothing follows, or, without an end, not now."""
        ...


class Bytes:
    """Print bytes as they are: to standard output, or apart, as a command wrote them."""

    def __init__(self, *, apart: bool = False) -> None:
        self._apart = apart

    def chunk(self, _attempt: int, chunk: LogChunk) -> None:
        """Print what is next."""
        to_stderr = self._apart and chunk.stream != Stream.OUT
        out = (sys.stderr if to_stderr else sys.stdout).buffer
        out.write(chunk.data)
        out.flush()

    def end(self, _attempt: int, _end: LogEnd | None) -> None:
        """Have nothing left."""


class Text:
    """Print text that does no harm to a terminal."""

    def __init__(self) -> None:
        self._harmless: dict[int, Harmless] = {}

    def chunk(self, attempt: int, chunk: LogChunk) -> None:
        """Print what is next."""
        _print(self._harmless.setdefault(attempt, Harmless()).text(chunk.data))

    def end(self, attempt: int, _end: LogEnd | None) -> None:
        """Print what was kept back."""
        if attempt in self._harmless:
            _print(self._harmless.pop(attempt).rest())


class ByLine(ABC):
    """Print line by line: all lines, or what a search makes of them."""

    def __init__(self, make: Callable[[], Lines | Search]) -> None:
        self._make = make
        self._lines: dict[int, Lines | Search] = {}
        self.found = False  # whether a search had a hit

    def chunk(self, attempt: int, chunk: LogChunk) -> None:
        """Print what is next."""
        if attempt not in self._lines:
            self._lines[attempt] = self._make()
        for line in self._lines[attempt].take(chunk):
            self._show(attempt, line)
        sys.stdout.flush()

    def end(self, attempt: int, _end: LogEnd | None) -> None:
        """Print what was kept back."""
        if attempt in self._lines:
            for line in self._lines.pop(attempt).rest():
                self._show(attempt, line)
            sys.stdout.flush()

    def _show(self, attempt: int, line: LogLine) -> None:
        self.found |= bool(line.hits)
        self.show(attempt, line)

    @abstractmethod
    def show(self, attempt: int, line: LogLine) -> None:
        """Print a line."""


class Json(ByLine):
    """Print a JSON object for each line, and one for the end of each log."""

    def show(self, attempt: int, line: LogLine) -> None:
        """Print a line."""
        text = line.data.decode("utf-8", "replace")
        record: dict[str, Any] = {
            "attempt": attempt,
            "line": line.number,
            "offset": line.offset,
            "stream": line.stream.name.lower(),
            "at": iso_time(line.at),
            "text": text,
            "ends": line.ends,
            "hits": [{"offset": offset, "size": size} for offset, size in line.hits],
        }
        if text.encode() != line.data:  # it is no UTF-8: a program can still have all of it
            record["base64"] = b64encode(line.data).decode()
        _write_json(record)

    def end(self, attempt: int, end: LogEnd | None) -> None:
        """Print what was kept back, and whether the log is complete."""
        super().end(attempt, end)
        record: dict[str, Any] = {"attempt": attempt, "complete": False}
        if end is not None:
            record["complete"] = end.missing is None and end.deleted_at is None
            record |= as_json(end, holes=[hole._asdict() for hole in end.holes])
        _write_json(record)


class Found(ByLine):
    """Print the lines of a search as grep does, each with its number and a byte offset.

    The offset is that of the first hit, of the line itself where there is none.
    """

    def __init__(self, make: Callable[[], Lines | Search], *, harmless: bool, apart: bool) -> None:
        super().__init__(make)
        self._is_harmless = harmless
        self._is_apart = apart  # whether groups of lines are told apart
        self._last: tuple[int, int] | None = None

    def show(self, attempt: int, line: LogLine) -> None:
        """Print a line."""
        mark, offset = (":", line.hits[0][0]) if line.hits else ("-", line.offset)
        before, self._last = self._last, (attempt, line.number)
        if self._is_apart and before is not None and (attempt, line.number - 1) > before:
            _print("--\n")
        _print(f"{line.number}{mark}{offset}{mark}")
        if self._is_harmless:
            harmless = Harmless()
            _print(harmless.text(line.data) + harmless.rest() + "\n")
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(line.data + b"\n")


def _write_json(record: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(record).decode() + "\n")


def _print(text: str) -> None:
    sys.stdout.write(text.encode(sys.stdout.encoding, "replace").decode(sys.stdout.encoding))
    sys.stdout.flush()
