"""Be a process beside the supervisor: what it has to say, the supervisor says."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core import events
from holdfast.core.events import Event, SidecarFailed, emit

if TYPE_CHECKING:
    from types import TracebackType

READY = b"ready"  # the line that a process writes when it waits for its first word


class _Told(msgspec.Struct, frozen=True):
    """Carry an event from one process to another: one line of JSON."""

    event: str
    facts: dict[str, Any]


class _Teller(logging.Handler):
    """Send events to the supervisor, which knows the level and the format that were asked for."""

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            facts = msgspec.to_builtins(event)
            with suppress(OSError):  # the supervisor is gone, and this process with it soon
                tell(msgspec.json.encode(_Told(type(event).__name__, facts)))


def speak_through_supervisor(name: str) -> None:
    """Hand every event, and the exception that ends this process, over to the supervisor."""
    logger = logging.getLogger("holdfast")
    logger.addHandler(_Teller())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False

    def fail(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, error, where))
        emit(SidecarFailed(name, f"{kind.__name__}: {error}", text))

    sys.excepthook = fail


def tell(line: bytes) -> None:
    """Write one line to the supervisor."""
    os.write(1, line + b"\n")


def is_event(line: bytes) -> bool:
    """Tell whether a line that a process beside the supervisor wrote is an event."""
    return line.startswith(b"{")


def retold(line: bytes) -> Event:
    """Return the event that such a process has told."""
    told = msgspec.json.decode(line, type=_Told)
    event: Event = getattr(events, told.event)(**told.facts)
    return event
