"""Arguments and results are JSON; what is not is refused with its path."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import BadArguments
from holdfast.core.payload import (
    MAX_BYTES,
    MAX_DEPTH,
    decode_arguments,
    decode_result,
    encode_arguments,
    encode_result,
    parse,
)

Color = Enum("Color", ["RED"])
Number = IntEnum("Number", ["ONE"])
Word = StrEnum("Word", ["YES"])

INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


def refusal(*args, **kwargs):
    """The error for a call with these arguments."""
    with pytest.raises(BadArguments) as caught:
        encode_arguments(args, kwargs)
    return caught.value


@given(VALUES, VALUES)
def test_every_json_value_comes_back_as_it_was(first, second):
    arguments = decode_arguments(encode_arguments((first,), {"second": second}))

    assert [first] == arguments.args
    assert {"second": second} == arguments.kwargs


@given(VALUES)
def test_every_json_value_comes_back_as_a_result(value):
    assert value == decode_result(encode_result(value))


@given(VALUES)
def test_what_is_stored_is_json_for_every_reader(value):
    assert value == json.loads(encode_result(value))


def test_a_tuple_comes_back_as_a_list():
    assert [[1, [2]]] == decode_arguments(encode_arguments(((1, (2,)),), {})).args


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"bytes",
        {1, 2},
        date(2026, 1, 1),
        Decimal(1),
        UUID(int=1),
        Path("/"),
        1j,
        Color.RED,
        Number.ONE,
        Word.YES,
        OrderedDict(),
        range(3),
        len,
        ValueError("no"),
    ],
)
def test_a_value_that_json_does_not_know_is_refused_by_its_type(value):
    error = refusal(value)

    assert "args[0]" == error.path
    assert f"a {type(value).__qualname__} is not JSON" in error.problem


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((1, object()), {}, "args[1]"),
        ((), {"user": object()}, "user"),
        ((), {"user": {"born": object()}}, "user.born"),
        (([1, {"a": (2, object())}],), {}, "args[0][1].a[1]"),
    ],
)
def test_the_path_leads_to_the_wrong_value(args, kwargs, path):
    assert path == refusal(*args, **kwargs).path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_float_that_json_cannot_write_is_refused(value):
    assert f"{value} is not a JSON number" == refusal([value]).problem


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, 10**100])
def test_an_integer_above_64_bits_is_refused(value):
    assert "the integer does not fit into 64 bits" == refusal(value).problem


@pytest.mark.parametrize("value", ["ab\ud800", {"ab\ud800": 1}])
def test_a_lone_surrogate_is_refused_in_text_and_in_keys(value):
    error = refusal(value)

    assert "args[0]" == error.path
    assert "the text has a lone surrogate at position 2" == error.problem


def test_the_name_of_an_argument_with_a_lone_surrogate_is_refused():
    assert "surrogate" in refusal(**{"\udfff": 1}).problem


@pytest.mark.parametrize("key", [1, None, True, (1, 2)])
def test_a_key_that_is_no_text_is_refused(key):
    error = refusal({"deep": {key: "value"}})

    assert "args[0].deep" == error.path
    assert f"one of its keys is of type {type(key).__name__}, not a text" == error.problem


def test_a_key_that_python_itself_cannot_show_is_refused():
    assert "not a text" in refusal({10**5000: "value"}).problem


def nested(depth):
    """A list in a list … so many levels deep."""
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_a_value_may_be_nested_up_to_the_limit():
    value = nested(MAX_DEPTH)

    assert value == decode_result(encode_result(value))


@pytest.mark.parametrize("value", [nested(MAX_DEPTH + 1), {"a": nested(MAX_DEPTH)}])
def test_a_value_nested_deeper_is_refused(value):
    assert f"nested deeper than {MAX_DEPTH} levels" == refusal(value).problem


def test_a_value_that_holds_itself_is_refused():
    value = []
    value.append(value)

    assert "nested deeper" in refusal(value).problem


def test_arguments_above_the_limit_of_size_are_refused_with_advice():
    error = refusal(1, text="x" * MAX_BYTES)

    assert "text" == error.path
    assert "Store the bulk elsewhere" in error.problem


def test_arguments_that_are_too_large_only_together_are_refused():
    assert "arguments" == refusal(*["x" * (MAX_BYTES // 2)] * 2).path


def test_a_long_key_makes_no_long_path():
    assert len(refusal({"k" * 1000: object()}).path) < 100


def test_the_limit_of_size_counts_bytes_and_not_characters():
    assert "bytes of JSON are above the limit" in refusal("ß" * (MAX_BYTES // 2)).problem


def test_a_result_is_checked_like_an_argument():
    with pytest.raises(BadArguments, match=r"result\.rows\[0\]"):
        encode_result({"rows": [object()]})


@given(VALUES)
def test_json_that_was_typed_is_what_it_says(value):
    assert value == parse(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ("NaN", "args[0]", "NaN is not a JSON number"),
        ('{"a": [1, -Infinity]}', "args[0].a[1]", "-Infinity is not a JSON number"),
        ("[1e999]", "args[0][0]", "1e999 is too large for a number"),
        ("9" * 5000, "args[0]", "the integer does not fit into 64 bits"),
        ("9" * 20, "args[0]", "the integer does not fit into 64 bits"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "args[0].a", "the key 'b' stands there more than once"),
        (r'["\ud800"]', "args[0][0]", "the text has a lone surrogate at position 0"),
        ("[" * 20_000 + "]" * 20_000, "args[0]", "nested deeper than 64 levels"),
    ],
)
def test_json_that_readers_would_take_differently_is_refused_with_its_path(text, path, problem):
    error = refusal(parse(text))

    assert (path, problem) == (error.path, error.problem)


@pytest.mark.parametrize("text", ["seven", "", "[1", '"a', "1 2", "0x10"])
def test_what_is_no_json_is_not_parsed(text):
    with pytest.raises(ValueError, match=r"line 1 column|char"):
        parse(text)
