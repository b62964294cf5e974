"""Draw the course of a number over time in one line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.units import show_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.usage import Usage

_BARS = "▁▂▃▄▅▆▇█"
_WIDEST = 60  # characters


def curve(values: Sequence[float]) -> str:
    """Return bars from zero to the highest value; of long rows each bar is the top of a few."""
    step = -(-len(values) // _WIDEST)
    tops = [max(values[at : at + step]) for at in range(0, len(values), step)]
    highest = max(tops) or 1
    return "".join(_BARS[round(top / highest * (len(_BARS) - 1))] for top in tops)


def usage_lines(usage: Usage) -> dict[str, str]:
    """Return the curves of memory and processors, with their highest values."""
    return {
        "memory": f"{curve(usage.memory)}  up to {show_bytes(max(usage.memory))}",
        "cpu": f"{curve(usage.cpu)}  up to {max(usage.cpu):.2g} CPU",
    }
