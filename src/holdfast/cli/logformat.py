"""Set up what a worker says of itself on stderr: text for people, JSON for programs."""

from __future__ import annotations

import logging
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec


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
        if is_dataclass(event):  # declared in core/events.py
            line["event"] = type(event).__name__
            line |= {entry.name: getattr(event, entry.name) for entry in fields(event)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up_logging(level: LogLevel, kind: LogFormat) -> None:
    """Send all records of this process to stderr."""
    out = logging.StreamHandler()
    if kind is LogFormat.JSON:
        out.setFormatter(JsonFormatter())
    else:
        out.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[out], force=True)
