"""Set up what a worker says of itself on stderr: text for people, JSON for programs."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from holdfast.core.events import Event, values_of
from holdfast.core.texts import visible_json


class LogFormat(StrEnum):
    """Name the formats."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """Name the levels."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class TextFormatter(logging.Formatter):
    """Write each record as one line that begins with the time."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._second, self._shown = 0, ""

    def formatTime(  # noqa: N802 - the name that logging calls
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """Return the time of a record; many of them are of one second."""
        second = int(record.created)
        if second != self._second:
            form = datefmt or self.default_time_format
            self._second, self._shown = second, time.strftime(form, self.converter(second))
        return f"{self._shown},{int(record.msecs):03d}"


class JsonFormatter(logging.Formatter):
    """Write each record as one JSON object; an event brings its name and its fields along."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            line["event"] = type(event).__name__
            line |= values_of(event)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return visible_json(msgspec.json.encode(line, enc_hook=str).decode())


def set_up_logging(level: LogLevel, kind: LogFormat) -> None:
    """Send all records of this process to stderr, a line for each run that ends among them.

    What no line shows is not looked up: https://docs.python.org/3/howto/logging.html#optimization
    """
    logging._srcfile = None  # noqa: SLF001 - the documented switch
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    out = logging.StreamHandler()
    if kind is LogFormat.JSON:
        out.setFormatter(JsonFormatter())
    else:
        out.setFormatter(TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[out], force=True)
