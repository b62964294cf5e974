"""Hold the parts of which correct histories are invented: plans, runs, executions, their logs."""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass, field

from torture.history import ChunkDump, Invoke, Plan

SOURCES = {"print": 0, "fd": 1}
FINAL = ("succeeded", "failed", "cancelled", "quarantined")
LIMITS = {"narrow": 1, "wide": 2}
ERROR = "torture.tasks.Planned"
PLANS = (
    Plan(),
    Plan(pens={"print": 4}),
    Plan(pens={"print": 9, "fd": 6}, sink=True),
    Plan(does="snooze", pens={"fd": 2}, sink=True),
    Plan(does="fail", ends=("failed",), blames=("error",), pens={"print": 3}, retries=1),
    Plan(does="die", ends=("quarantined",), blames=("signal(SIGKILL)",), crashes=1),
    Plan(does="later", later=True),
)


@dataclass
class Execution:
    """One attempt on its way, whether its worker still has the right to it or not."""

    run: InventedRun
    attempt: int
    worker: str
    pid: int
    begun: bool = False
    held: bool = True
    counts: dict = field(default_factory=lambda: defaultdict(int))
    sources: dict = field(default_factory=lambda: defaultdict(str))
    cut: str | None = None  # what its log says when its end may be missing


@dataclass
class InventedRun:
    """One run as the honest product keeps it."""

    id: str
    asked: Invoke
    state: str = "queued"
    failures: int = 0
    crashes: int = 0
    result: str | None = None
    cancel_asked: bool = False
    has_dedupe_key: bool = True
    executions: list = field(default_factory=list)
    ended: list = field(default_factory=list)  # AttemptDump, without logs

    @property
    def plan(self):
        return self.asked.plan

    @property
    def is_live(self):
        return self.state not in FINAL


def cut_up(sources, dice):
    """Cut what was written into chunks anywhere, and mix them as a shipper does."""
    left = {source: text for source, text in sources.items() if text}
    size = lines = crc = 0
    ends = defaultdict(int)
    while left:
        source = dice.choice([*left])
        cut = dice.randint(1, len(left[source]))
        data, left[source] = left[source][:cut], left[source][cut:]
        if not left[source]:
            del left[source]
        ends[source] += cut
        crc = zlib.crc32(data.encode(), crc)
        yield ChunkDump(size, lines, data.count("\n"), source, ends[source], crc, data)
        size += cut
        lines += data.count("\n")
