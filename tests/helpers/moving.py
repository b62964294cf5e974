"""Move a store in a test."""

from __future__ import annotations

from helpers.everything import LEASE_SECONDS
from helpers.factories import enqueue
from holdfast.core.errors import StoreRefused
from holdfast.store import moving


def move(source, target, tell=lambda _: None):
    """Move a store whose workers have been silent for a lease."""
    return moving.move(source, target, LEASE_SECONDS, tell)


def takes(store):
    """Whether a store takes new runs."""
    try:
        enqueue(store)
    except StoreRefused:
        return False
    return True
