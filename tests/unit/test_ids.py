"""Ids are UUIDs of version 7: unique, and in the order of their making."""

from __future__ import annotations

import uuid

import pytest

from holdfast.core.ids import is_id, is_prefix, new_id, oldest_id

SAMPLE = "0193a0b0-1234-7abc-8def-0123456789ab"
NOW = 1_800_000_000_123_456_789  # nanoseconds


def test_an_id_is_a_uuid_of_version_7():
    made = uuid.UUID(new_id())

    assert (7, uuid.RFC_4122) == (made.version, made.variant)


def test_an_id_holds_the_millisecond_of_its_making():
    assert NOW // 1_000_000 == uuid.UUID(new_id(NOW)).int >> 80


def test_ids_of_one_process_are_in_the_order_of_their_making():
    made = [new_id() for _ in range(10_000)]

    assert sorted(made) == made


def test_ids_within_one_millisecond_are_in_order():
    made = [new_id(NOW + microsecond * 1000) for microsecond in range(500)]

    assert sorted(made) == made


def test_ids_made_at_the_same_moment_differ():
    assert 10_000 == len({new_id(NOW) for _ in range(10_000)})


def test_no_id_of_a_time_is_below_the_oldest_of_that_time():
    assert all(oldest_id(NOW // 1000) <= new_id(NOW) for _ in range(100))
    assert oldest_id(NOW // 1000) > new_id(NOW - 1_000_000)


@pytest.mark.parametrize("time", [0, NOW, 253_402_300_799 * 10**9])
def test_what_is_made_has_the_shape_of_an_id(time):
    assert is_id(new_id(time))
    assert is_id(oldest_id(time // 1000))


@pytest.mark.parametrize(
    "text",
    ["", "x", "..", "../../etc/passwd", SAMPLE.upper(), SAMPLE + "\n", SAMPLE[:-1], "\0"],
)
def test_other_texts_have_not_the_shape_of_an_id(text):
    assert not is_id(text)


@pytest.mark.parametrize("text", [SAMPLE[:4], SAMPLE[:35], SAMPLE[9:20]])
def test_part_of_an_id_can_be_looked_for(text):
    assert is_prefix(text)


@pytest.mark.parametrize("text", ["", "abc", "%%%%", "wxyz", "____", SAMPLE])
def test_what_cannot_be_part_of_an_id_is_not_looked_for(text):
    assert not is_prefix(text)
