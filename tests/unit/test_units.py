"""Durations and sizes are read and written as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.core import units
from holdfast.core.errors import BadOption


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("1.5", 1.5),
        ("90s", 90.0),
        ("250ms", 0.25),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1 h 30 m", 5400.0),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        (timedelta(minutes=2), 120.0),
    ],
)
def test_a_duration_can_be_written_as(text, seconds):
    assert seconds == units.seconds(text, option="timeout")


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        "",
        "0s",
        "-5m",
        "10 minutes",
        "m",
        "1h x",
        "5m 5",
        "1e3",
        "9" * 400,
        10**400,
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        1e10,
        timedelta(0),
        timedelta(days=-1),
    ],
)
def test_what_is_no_duration_is_refused_with_the_name_of_the_option(value):
    with pytest.raises(BadOption) as caught:
        units.seconds(value, option="timeout")

    assert "timeout" == caught.value.option


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1048576, 1_048_576),
        ("100", 100),
        ("100B", 100),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("512MiB", 536_870_912),
        (" 1.5 GiB ", 1_610_612_736),
        ("2TB", 2 * 10**12),
    ],
)
def test_a_size_can_be_written_as(text, size):
    assert size == units.size(text, option="memory")


@pytest.mark.parametrize(
    "value",
    [0, -1, "", "0", "MiB", "1 mib", "1XB", "-1KiB", "9" * 400, 1 << 63, 10**400, True, 1.5, None],
)
def test_what_is_no_size_is_refused_with_the_name_of_the_option(value):
    with pytest.raises(BadOption) as caught:
        units.size(value, option="memory")

    assert "memory" == caught.value.option


@pytest.mark.parametrize("value", [0, 7, 10])
def test_a_whole_number_within_its_limits_is_accepted(value):
    units.check_whole(value, option="priority", low=0, high=10)


@pytest.mark.parametrize("value", [-1, 11, True, 1.0, "1", None])
def test_another_value_than_a_whole_number_within_its_limits_is_refused(value):
    with pytest.raises(BadOption, match="expected a whole number, 0 to 10"):
        units.check_whole(value, option="priority", low=0, high=10)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (1, "1 s"),
        (59.4, "59.4 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (47 * 3600, "47 h"),
        (48 * 3600, "2 d"),
        (50 * 3600, "2 d 2 h"),
    ],
)
def test_a_duration_is_shown_in_words(seconds, text):
    assert text == units.show_seconds(seconds)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (200_000, "195 KiB"),
        (1 << 20, "1.0 MiB"),
        (2_040_109_465, "1.9 GiB"),
        (5 << 40, "5.0 TiB"),
        (1 << 60, "1048576 TiB"),
    ],
)
def test_a_size_is_shown_with_a_binary_unit(size, text):
    assert text == units.show_bytes(size)


@pytest.mark.parametrize(
    "value",
    [
        "2h",
        "90",
        timedelta(minutes=5),
        "2026-11-21T13:00",
        "2026-11-21T13:00+02:00",
        datetime(2026, 11, 21, tzinfo=UTC),
    ],
)
def test_a_past_time_is_an_age_or_a_moment(value):
    assert units.past(value, option="since") > 0


def test_a_moment_with_a_zone_is_exact_and_an_age_counts_from_now():
    assert 1_795_266_000_000_000 == units.past("2026-11-21T15:00+02:00", option="since")
    now = datetime.now(UTC).timestamp()
    assert abs(now - 7200 - units.past("2h", option="since") / 1e6) < 5


@pytest.mark.parametrize("value", ["yesterday", "", "0001-01-01T00:00", "-1h", True])
def test_a_past_time_that_is_neither_is_refused(value):
    with pytest.raises(BadOption, match="since="):
        units.past(value, option="since")
