"""Heavier variants of the same tests: `make faults` asks for them."""

from __future__ import annotations

import os

HEAVY = os.environ.get("FAULTS") == "heavy"


def heavy(usual, much):
    """Return how much of something there is to be."""
    return much if HEAVY else usual
