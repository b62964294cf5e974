"""Wait for something to become true, and no longer."""

from __future__ import annotations

import time


def wait_until(condition, within=5):
    """Return the first true answer of `condition`; fail when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {within} s: {condition}")
        time.sleep(0.005)
