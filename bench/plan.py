"""How much is measured: the whole, or a quick look while one develops."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Numbers of things, and how long they may take."""

    rounds: int = 3
    runs: int = 20_000  # queued for the drain
    many: int = 1_000_000  # queued for the growth
    window_seconds: float = 6.0  # of the steady part, for those who would take longer
    trial_runs: int = 4_000  # to choose among the setups of a contestant
    singles: int = 300  # enqueued one by one in one turn
    turns: int = 10  # of singles, in each round
    bulk: int = 20_000
    latencies: int = 150  # in each round
    idle_seconds: float = 2.0
    written_lines: int = 3_000_000  # 229 MiB
    printed_lines: int = 500_000
    long_lines: int = 10_000_000
    long_logs: int = 3


QUICK = Plan(
    rounds=1,
    runs=4_000,
    many=100_000,
    window_seconds=3.0,
    trial_runs=0,
    singles=100,
    turns=3,
    bulk=5_000,
    latencies=40,
    idle_seconds=0.5,
    written_lines=500_000,
    printed_lines=100_000,
    long_lines=1_000_000,
    long_logs=1,
)
