"""What a measure brings back: values with their unit, and what is made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One quantity of one contestant, once for each round."""

    measure: str
    contestant: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the middle one."""
        return median(self.values)

    @property
    def low(self) -> float:
        """Return the least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Return the greatest."""
        return max(self.values)

    def as_json(self) -> dict[str, Any]:
        """Return it for the file of results."""
        rounded = {name: _round(getattr(self, name)) for name in ("median", "low", "high")}
        return {**asdict(self), "values": [_round(value) for value in self.values], **rounded}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Figure:
        """Return what `as_json` made a record of."""
        values = tuple(record["values"])
        return cls(record["measure"], record["contestant"], record["unit"], values)


def by_measure(figures: list[Figure]) -> dict[tuple[str, str], list[Figure]]:
    """Return figures by measure and unit, in their order."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        found.setdefault((figure.measure, figure.unit), []).append(figure)
    return found


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _round(value: float) -> float:
    return float(f"{value:.5g}")
