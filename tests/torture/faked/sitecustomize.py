"""Let Python sleep by another system call: libfaketime 0.9.10 breaks the one that it uses.

A process that sees another time of day but the true monotonic clock has clock_nanosleep(2)
answer EINVAL. Found by Python at its start, because this folder is on its path.
"""

from __future__ import annotations

import select
import time


def sleep(seconds):
    """Wait."""
    select.select([], [], [], seconds)


time.sleep = sleep
