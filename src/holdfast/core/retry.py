"""Decide when a failed run is tried again, and when it is given up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from holdfast.core import units
from holdfast.core.errors import BadOption

if TYPE_CHECKING:
    from datetime import timedelta

Backoff = Literal["exponential", "linear", "fixed"]
MOST_RETRIES = 1_000_000


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hold a retry rule as it is stored with a run; users write `Retry`."""

    limit: int = 0
    backoff: Backoff = "exponential"
    delay: float = 2.0
    max_delay: float = 3600.0
    jitter: float = 0.1

    def next_delay(self, failures: int, spread: float | None = None) -> float | None:
        """Return the seconds to wait after so many failures, or None to give up.

        `spread` in -1..1 replaces the random part, for tests.
        """
        if failures > self.limit:
            return None
        delay = min(self.max_delay, self.delay * self._growth(failures))
        part = random.uniform(-1, 1) if spread is None else spread  # noqa: S311 - no secret
        return delay * (1 + self.jitter * part)

    def _growth(self, failures: int) -> float:
        match self.backoff:
            case "fixed":
                return 1.0
            case "linear":
                return float(failures)
            case "exponential":
                return 2.0 ** min(failures - 1, 60)


def crash_delay(crashes: int) -> float:
    """Return the seconds to wait after a crash: none after the first, then 1, 2, 4 … 60.

    The first crash may be an accident of the machine, and the person waits for the result; a
    second one points to the task, which must not take executor after executor at full speed.
    """
    return 0.0 if crashes <= 1 else float(min(60, 2 ** (crashes - 2)))


def Retry(  # noqa: N802 - reads as a value: retries=Retry(5, backoff="fixed")
    limit: int,
    *,
    backoff: Backoff = "exponential",
    delay: float | str | timedelta = 2.0,
    max_delay: float | str | timedelta = 3600.0,
    jitter: float = 0.1,
) -> RetryPolicy:
    """Try a run again after an exception or a time limit, up to `limit` times.

    The waiting time is `delay` (seconds or ``"10s"``), doubled (`exponential`), added (`linear`)
    or kept (`fixed`) from one failure to the next, never above `max_delay`, and changed at random
    by the fraction `jitter` so that many runs that failed together do not come back together.
    Crashes of the executor are counted apart, see the option `crashes`.
    """
    units.check_whole(limit, option="retries", low=0, high=MOST_RETRIES)
    if backoff not in get_args(Backoff):
        raise BadOption(option="backoff", value=backoff, expected="exponential, linear or fixed")
    if not _is_fraction(jitter):
        raise BadOption(option="jitter", value=jitter, expected="a fraction between 0 and 1")
    return RetryPolicy(
        limit=limit,
        backoff=backoff,
        delay=units.seconds(delay, option="delay"),
        max_delay=units.seconds(max_delay, option="max_delay"),
        jitter=jitter,
    )


def _is_fraction(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
