from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.curves import curve
from holdfast.core.usage import MOST_POINTS, Series, Usage


def series_of(looks):
    series = Series()
    for look in looks:
        series.look(*look)
    return series


def test_too_few_points_are_no_course():
    assert Series().usage() is None
    assert series_of([(0, 5, 0), (1, 5, 0)]).usage() is None


def test_each_second_is_a_point_with_its_highest_memory_and_its_mean_of_processors():
    looks = [(0, 10, 3.0), (0.5, 90, 3.0), (1, 20, 4.0), (1.5, 20, 4.0), (2, 30, 4.5)]

    assert Usage(1.0, [90, 30], [1.0, 0.5]) == series_of(looks).usage()


def test_cpu_that_seems_to_shrink_counts_as_none():
    """A process that nobody waits for takes its CPU time with it."""
    looks = [(0, 1, 5.0), (1, 1, 6.0), (2, 1, 2.0)]

    assert [1.0, 0.0] == series_of(looks).usage().cpu


def test_a_long_attempt_has_coarser_points_over_its_whole_time():
    usage = series_of([(at, at, at / 2) for at in range(1000)]).usage()

    assert 16.0 == usage.every
    assert list(range(16, 1000, 16)) == usage.memory
    assert {0.5} == set(usage.cpu)


@given(st.lists(st.tuples(st.floats(0.01, 30), st.integers(0, 1 << 40)), max_size=600))
def test_points_stay_few_and_hold_the_peak(steps):
    series, at, memory = Series(), 0.0, [0]
    series.look(at, 0, 0.0)
    for pause, used in steps:
        at += pause
        series.look(at, used, at)
        memory.append(used)
    usage = series.usage()

    if usage is not None:
        assert len(usage.memory) == len(usage.cpu) < MOST_POINTS
        assert max(usage.memory) in memory
        assert usage == msgspec.json.decode(msgspec.json.encode(usage), type=Usage)


@pytest.mark.parametrize(
    ("values", "bars"),
    [([0, 0], "▁▁"), ([1, 2, 4, 8], "▂▃▅█"), ([0.0, 0.5, 1.0], "▁▅█"), ([7], "█")],
)
def test_a_curve_goes_from_zero_to_the_highest_value(values, bars):
    assert bars == curve(values)


def test_a_long_curve_fits_in_a_line_and_keeps_its_peak():
    drawn = curve([0.0] * 100 + [9.0] + [0.0] * 18)

    assert len(drawn) <= 60
    assert 1 == drawn.count("█")
