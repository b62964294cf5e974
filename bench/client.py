"""A process that enqueues for one contestant, as a web process does: `python -m bench.client`.

It is asked by lines of JSON on its standard input: a verb and a number. So all contestants take
turns in short pieces, and none of them shares an interpreter with another or with the bench.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.witness import VARIABLE, Witness

if TYPE_CHECKING:
    from types import ModuleType

FILL_STEP = 20_000  # runs built in memory at once
IDLE_SECONDS = (0.01, 0.05)  # how long a worker lies idle before it is woken, drawn anew each time
PATIENCE = 30.0  # seconds that one run may take to start


class Calls:
    """The verbs."""

    def __init__(self, player: ModuleType) -> None:
        self._player = player

    def single(self, count: int) -> float:
        """Enqueue one by one and return the seconds."""
        if hasattr(self._player, "enqueue_singly"):
            began = time.perf_counter()
            self._player.enqueue_singly(count)
            return time.perf_counter() - began
        enqueue = self._player.enqueue
        began = time.perf_counter()
        for _ in range(count):
            enqueue()
        return time.perf_counter() - began

    def bulk(self, count: int) -> float | None:
        """Enqueue many by the call for many and return the seconds; None where there is none."""
        if self._player.enqueue_many is None:
            return None
        began = time.perf_counter()
        self._player.enqueue_many(count)
        return time.perf_counter() - began

    def drain(self, count: int) -> float:
        """Drain so many rows without carrying anything out, and return the seconds."""
        began = time.perf_counter()
        self._player.drain(count)
        return time.perf_counter() - began

    def fill(self, count: int) -> None:
        """Enqueue so many in the quickest way there is."""
        if hasattr(self._player, "multiply"):
            self._player.enqueue()
            self._player.multiply(count)
            return
        if self._player.enqueue_many is None:
            self.single(count)
            return
        for begin in range(0, count, FILL_STEP):
            self._player.enqueue_many(min(FILL_STEP, count - begin))

    def left(self, _: int) -> int:
        """Return how many have not ended."""
        return self._player.left()  # type: ignore[no-any-return]

    def latency(self, count: int) -> list[float]:
        """Return milliseconds from the call of `enqueue` to the first line of the task."""
        path = Path(os.environ[VARIABLE])
        waits = []
        for _ in range(count):
            time.sleep(random.uniform(*IDLE_SECONDS))  # noqa: S311 - no secret
            size = path.stat().st_size
            called = time.monotonic_ns()
            self._player.enqueue()
            self._wait_beyond(path, size)
            waits.append((Witness.last(path) - called) / 1e6)
        return waits

    def _wait_beyond(self, path: Path, size: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while path.stat().st_size == size:
            if time.monotonic() > deadline:
                sys.exit("an idle worker did not start a run")
            time.sleep(0.0005)


def main() -> None:
    """Answer until the input ends."""
    player = import_module(sys.argv[1])
    if hasattr(player, "prepare"):
        player.prepare()
    calls = Calls(player)
    answer(None)
    for line in sys.stdin:
        verb, count = json.loads(line)
        gc.collect()
        answer(getattr(calls, verb)(count))


def answer(value: Any) -> None:
    """Send one answer."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
