"""A failed run is tried again later and later, up to its limit."""

from __future__ import annotations

import msgspec
import pytest

from holdfast import Retry
from holdfast.core.errors import BadOption
from holdfast.core.retry import RetryPolicy, crash_delay


def delays(policy, spread=0.0):
    """The waiting times after the first, second, third … failure."""
    return [policy.next_delay(failures, spread) for failures in range(1, 6)]


def test_a_run_is_not_tried_again_unless_asked_for():
    assert RetryPolicy().next_delay(1) is None


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        ("exponential", [2, 4, 8, 16, None]),
        ("linear", [2, 4, 6, 8, None]),
        ("fixed", [2, 2, 2, 2, None]),
    ],
)
def test_the_waiting_time_grows_until_the_limit(backoff, expected):
    assert expected == delays(Retry(4, backoff=backoff))


def test_the_waiting_time_has_an_upper_bound():
    assert [60, 120, 150, 150, 150] == delays(Retry(9, delay="1m", max_delay="150s"))


def test_the_thousandth_retry_does_not_overflow():
    assert 3600 == Retry(1000).next_delay(1000, 0.0)


@pytest.mark.parametrize(("spread", "expected"), [(-1, 90), (0, 100), (1, 110)])
def test_the_waiting_time_is_spread_by_the_jitter(spread, expected):
    assert pytest.approx(expected) == Retry(1, delay=100, jitter=0.1).next_delay(1, spread)


def test_runs_that_failed_together_do_not_come_back_together():
    policy = Retry(1, delay=100, jitter=0.5)
    drawn = {policy.next_delay(1) for _ in range(100)}

    assert len(drawn) > 50
    assert all(50 <= delay <= 150 for delay in drawn)


def test_a_rule_survives_being_stored():
    policy = Retry(5, backoff="linear", delay="10s", max_delay="1h", jitter=0.2)

    assert policy == msgspec.json.decode(msgspec.json.encode(policy), type=RetryPolicy)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("retries", {"limit": -1}),
        ("retries", {"limit": True}),
        ("retries", {"limit": 1.5}),
        ("retries", {"limit": "3"}),
        ("backoff", {"limit": 1, "backoff": "quadratic"}),
        ("jitter", {"limit": 1, "jitter": 1.1}),
        ("jitter", {"limit": 1, "jitter": -0.1}),
        ("jitter", {"limit": 1, "jitter": "0.1"}),
        ("jitter", {"limit": 1, "jitter": float("nan")}),
        ("delay", {"limit": 1, "delay": 0}),
        ("max_delay", {"limit": 1, "max_delay": "soon"}),
    ],
)
def test_an_impossible_rule_is_refused_with_the_name_of_its_option(option, values):
    with pytest.raises(BadOption) as caught:
        Retry(**values)

    assert option == caught.value.option


def test_the_first_crash_is_tried_again_at_once_and_later_ones_ever_slower():
    assert [0, 1, 2, 4, 8, 16, 32, 60, 60] == [crash_delay(crashes) for crashes in range(1, 10)]
