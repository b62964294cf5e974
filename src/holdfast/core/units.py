"""Read and write durations and sizes as people write them."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta

from holdfast.core.clock import SECOND
from holdfast.core.errors import BadOption

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "B": 1}
_BYTES |= {f"{p}iB": 1024**n for n, p in enumerate("KMGT", 1)}
_BYTES |= {f"{p}B": 1000**n for n, p in enumerate("KMGT", 1)} | {"kB": 1000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_LONGEST = 1e10  # seconds: 316 years, so that every time reached by it can be stored
_LARGEST = 1 << 63  # bytes: what a database can hold

_MINUTE = 60  # seconds
_TWO_DAYS = 48  # hours: from here on days read better
_KIBI = 1024
_HUGEST = sys.float_info.max
_THREE_DIGITS = 100  # from here on a decimal tells nobody anything


def seconds(value: float | str | timedelta, *, option: str) -> float:
    """Return a duration in seconds from a number of seconds, ``"1h30m"`` or a timedelta.

    Raises BadOption when the value is no duration or not above zero.
    """
    total = _total_seconds(value)
    if not 0 < total < _LONGEST:
        expected = 'a duration above zero, such as 90, "90s", "10m", "1h30m" or a timedelta'
        raise BadOption(option=option, value=value, expected=expected)
    return total


def _total_seconds(value: object) -> float:
    match value:
        case timedelta():
            return value.total_seconds()
        case str():
            return _parse_duration(value)
        case int() | float() if not isinstance(value, bool) and value < _LONGEST:
            return float(value)
        case _:
            return -1.0


def _parse_duration(text: str) -> float:
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else -1.0
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def past(value: datetime | timedelta | str, *, option: str) -> int:
    """Return a time in microseconds from "2h" (ago), a timedelta (ago), an ISO time or a datetime.

    Raises BadOption when the value is none of them.
    """
    moment = value if isinstance(value, datetime) else None
    if isinstance(value, str):
        moment = iso_time(value)
    if moment is not None:
        return int(moment.timestamp() * SECOND)
    try:
        ago = seconds(value, option=option)  # type: ignore[arg-type]
    except BadOption as error:
        expected = "an age such as 2h or 3d, or a time such as 2026-11-21T13:00"
        raise BadOption(option=option, value=value, expected=expected) from error
    return int((datetime.now().astimezone().timestamp() - ago) * SECOND)


def iso_time(text: str) -> datetime | None:
    """Return a time, or None for a text that is none; without a zone it is that of this host."""
    if text.isdigit():
        return None  # seconds, although 20261121 is an ISO date too
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        return None


def size(value: int | str, *, option: str) -> int:
    """Return a size in bytes from a number of bytes or a text such as ``"512MiB"``.

    Raises BadOption when the value is no size or not above zero.
    """
    number = _total_bytes(value)
    if not 1 <= number < _LARGEST:
        expected = 'a size above zero, such as 1048576, "512MiB" or "2GiB"'
        raise BadOption(option=option, value=value, expected=expected)
    return int(number)


def _total_bytes(value: object) -> float:
    match value:
        case str():
            found = _SIZE.fullmatch(value.strip())
            return float(found[1]) * _BYTES[found[2]] if found and found[2] in _BYTES else -1
        case int() if not isinstance(value, bool):
            return value
        case _:
            return -1


def check_whole(value: object, *, option: str, low: int, high: int) -> None:
    """Raise BadOption unless a value is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadOption(option=option, value=value, expected=f"a whole number, {low} to {high}")


def show_seconds(value: float) -> str:
    """Return a duration in words that a person reads at a glance: ``1 h 30 min``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < _MINUTE:
        return f"{value:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(value), _MINUTE)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if hours < _TWO_DAYS:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def show_bytes(value: float) -> str:
    """Return a size with a binary unit: ``1.9 GiB``."""
    if value < _KIBI:
        return f"{value:.0f} B"
    power = min(4, (int(value).bit_length() - 1) // 10)
    value, unit = value / _KIBI**power, f"{' KMGT'[power]}iB"
    return f"{value:.0f} {unit}" if value >= _THREE_DIGITS else f"{value:.1f} {unit}"


def check_number(value: object, *, option: str) -> None:
    """Raise BadOption unless a value is a finite number."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not -_HUGEST <= value <= _HUGEST:  # type: ignore[operator]
        raise BadOption(option=option, value=value, expected="a finite number")
