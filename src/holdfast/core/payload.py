"""Turn arguments and results into JSON and back; refuse what JSON cannot hold, with its path."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from holdfast.core.errors import BadArguments

Json: TypeAlias = Any  # None, bool, int, float, str, list or dict with str keys, checked here

MAX_DEPTH = 64
MAX_BYTES = 1 << 20
MAX_INTEGER = 1 << 63  # what every JSON reader of this ecosystem and every SQL database can hold

_encode = msgspec.json.Encoder().encode


class Arguments(msgspec.Struct, frozen=True):
    """Hold the positional and keyword arguments of a call."""

    args: list[Json] = []
    kwargs: dict[str, Json] = {}


_decode_arguments = msgspec.json.Decoder(Arguments).decode


def encode_arguments(args: tuple[Json, ...], kwargs: dict[str, Json]) -> str:
    """Return the JSON of a call; raises BadArguments with the path of the first wrong value."""
    for index, value in enumerate(args):
        _check(value, f"args[{index}]", 1)
    for name, value in kwargs.items():
        _check_text(name, "arguments")
        _check(value, name, 1)
    return _bounded(_encode({"args": args, "kwargs": kwargs}), "arguments")


def decode_arguments(text: str | bytes) -> Arguments:
    """Return the arguments that `encode_arguments` wrote."""
    return _decode_arguments(text)


def encode_result(value: Json) -> str:
    """Return the JSON of a result; raises BadArguments with the path of the first wrong value."""
    if value is None:
        return "null"
    _check(value, "result", 1)
    return _bounded(_encode(value), "result")


def decode_result(text: str | bytes) -> Json:
    """Return the value that `encode_result` wrote."""
    return msgspec.json.decode(text)


def _bounded(encoded: bytes, what: str) -> str:
    if len(encoded) > MAX_BYTES:
        problem = (
            f"{len(encoded)} bytes of JSON are above the limit of {MAX_BYTES}. "
            "Store the bulk elsewhere (a file, an object store) and pass its name"
        )
        raise BadArguments(path=what, problem=problem)
    return encoded.decode()


def _check(value: Json, path: str, depth: int) -> None:
    check = _CHECKS.get(type(value))  # the exact type: a subclass would come back as its base
    if check is None:
        problem = (
            f"a {type(value).__qualname__} is not JSON. Pass text, numbers, booleans, None, "
            "lists or dicts, and rebuild the object in the task"
        )
        raise BadArguments(path=path, problem=problem)
    check(value, path, depth)


def _accept(value: Json, path: str, depth: int) -> None:
    pass


def _check_integer(value: int, path: str, _depth: int) -> None:
    if not -MAX_INTEGER <= value < MAX_INTEGER:
        raise BadArguments(path=path, problem="the integer does not fit into 64 bits")


def _check_float(value: float, path: str, _depth: int) -> None:
    if not math.isfinite(value):
        raise BadArguments(path=path, problem=f"{value} is not a JSON number")


def _check_array(value: Iterable[Json], path: str, depth: int) -> None:
    _check_depth(path, depth)
    for index, item in enumerate(value):
        _check(item, f"{path}[{index}]", depth + 1)


def _check_object(value: dict[Any, Json], path: str, depth: int) -> None:
    _check_depth(path, depth)
    for key, item in value.items():
        if type(key) is not str:
            raise BadArguments(path=path, problem=f"the key {key!r} is not a text")
        _check_text(key, path)
        _check(item, f"{path}.{key}", depth + 1)


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadArguments(path=path, problem=f"nested deeper than {MAX_DEPTH} levels")


def _check_text(value: str, path: str, _depth: int = 0) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"the text has a lone surrogate at position {error.start}"
        raise BadArguments(path=path, problem=problem) from None


_CHECKS: Mapping[type, Callable[[Any, str, int], None]] = {
    type(None): _accept,
    bool: _accept,
    str: _check_text,
    int: _check_integer,
    float: _check_float,
    list: _check_array,
    tuple: _check_array,
    dict: _check_object,
}
