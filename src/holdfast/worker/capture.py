"""Lead what Python code writes and logs into the spool of the attempt it belongs to."""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING

from holdfast.core.models import Stream

if TYPE_CHECKING:
    from holdfast.worker.spool import AttemptSpool

ESCAPE = "holdfast.escape"  # how text becomes bytes: see `escape`
LINE = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
TIME = "%H:%M:%S"


def escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Make bytes of what UTF-8 has no bytes for: no text that is printed raises.

    A byte that could not be decoded becomes that byte again, another lone surrogate its escape.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    try:
        return bad.encode("utf-8", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return bad.encode("ascii", "backslashreplace"), error.end


codecs.register_error(ESCAPE, escape)


class Capture:
    """Know whose output it is: the attempt of this context, else the only one there is.

    Async attempts are told apart by their context. An exclusive executor has one attempt at a
    time, so the output of threads that the task started is its own too.
    """

    def __init__(self) -> None:
        self.current: ContextVar[AttemptSpool | None] = ContextVar("spool", default=None)
        self.only: AttemptSpool | None = None

    def install(self) -> None:
        """Replace sys.stdout and sys.stderr, before the app is imported and takes hold of them.

        What is written outside of any attempt goes where the worker's own log goes.
        """
        outside = os.dup(2)
        self._streams = (
            AttemptStream(self, Stream.OUT, outside),
            AttemptStream(self, Stream.ERR, outside),
        )
        self.put_back()

    def put_back(self) -> None:
        """Make our streams sys.stdout and sys.stderr, also after a task has replaced them."""
        sys.stdout, sys.stderr = self._streams

    def listen(self) -> None:
        """Add a handler to the root logger, unless the app's own already writes to our streams."""
        root = logging.getLogger()
        if any(isinstance(getattr(h, "stream", None), AttemptStream) for h in root.handlers):
            return
        root.addHandler(AttemptHandler(self))
        if root.level == logging.WARNING:  # nobody has chosen one
            root.setLevel(logging.INFO)

    def spool(self) -> AttemptSpool | None:
        """Return where output belongs now, or None outside of any attempt."""
        spool = self.current.get() or self.only
        return None if spool is None or spool.closed else spool


class _Bytes(io.RawIOBase):
    """Take the bytes written to sys.stdout.buffer."""

    def __init__(self, capture: Capture, stream: Stream, outside: int) -> None:
        self._capture = capture
        self._stream = stream
        self._outside = outside

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._stream)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        spool = self._capture.spool()
        if spool is None:
            os.write(self._outside, data)
        elif data:
            spool.write(self._stream, bytes(data))
        return len(data)


class AttemptStream(io.TextIOBase):
    """Be sys.stdout or sys.stderr: every write is one record in the spool at once.

    Nothing is held back, so that nothing is lost when the process is killed.
    """

    encoding = "utf-8"
    errors = ESCAPE

    def __init__(self, capture: Capture, stream: Stream, outside: int) -> None:
        self.buffer = _Bytes(capture, stream, outside)

    def writable(self) -> bool:
        """Tell that text can be written."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that C code and child processes write to."""
        return self.buffer.fileno()

    def write(self, text: str, /) -> int:
        """Write a text to the log of the attempt."""
        self.buffer.write(text.encode("utf-8", ESCAPE))
        return len(text)


class AttemptHandler(logging.Handler):
    """Write logging records to the log of the attempt, one line and one write each."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture
        self.setFormatter(logging.Formatter(LINE, TIME))

    def createLock(self) -> None:  # noqa: N802 - the name is logging's
        """Make no lock: one write(2) needs none, and a fork cannot leave it taken."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a record that cannot be formatted is reported, not raised."""
        spool = self._capture.spool()
        if spool is None:
            return
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - user code formats; logging says how it went wrong
            self.handleError(record)
            return
        try:
            spool.write(Stream.LOG, f"{text}\n".encode("utf-8", ESCAPE))
        except OSError:
            self.handleError(record)  # a sick disk must not break the task through its logging
