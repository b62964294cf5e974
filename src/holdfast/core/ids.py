"""Make the ids of runs and workers: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import re
import time
from typing import NewType

RunId = NewType("RunId", str)
WorkerId = NewType("WorkerId", str)

_SHAPE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PREFIX = re.compile(r"[0-9a-f-]{4,35}")


def new_id(nanoseconds: int | None = None) -> str:
    """Return a new UUIDv7: milliseconds, then 12 bits of their fraction, then 62 random bits.

    The fraction (RFC 9562, method 3) keeps ids of one process in the order of their making
    without any state to share.
    """
    milliseconds, rest = divmod(time.time_ns() if nanoseconds is None else nanoseconds, 1_000_000)
    fraction = (rest << 12) // 1_000_000
    entropy = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1) | (1 << 63)
    text = f"{(milliseconds << 16) | 0x7000 | fraction:016x}{entropy:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def oldest_id(microseconds: int) -> str:
    """Return the smallest id that could have been made at the given time."""
    text = f"{microseconds // 1000:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def is_id(value: object) -> bool:
    """Tell whether a value is a text with the shape of an id."""
    return isinstance(value, str) and _SHAPE.fullmatch(value) is not None


def is_prefix(text: str) -> bool:
    """Tell whether a text could be the beginning of an id that a person has copied."""
    return _PREFIX.fullmatch(text) is not None
