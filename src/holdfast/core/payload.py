"""Turn arguments and results into JSON and back; refuse what JSON cannot hold, with its path."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from holdfast.core.errors import BadArguments

Json: TypeAlias = Any  # None, bool, int, float, str, list or dict with str keys, checked here

MAX_DEPTH = 64
MAX_BYTES = 1 << 20
MAX_INTEGER = 1 << 63  # what every JSON reader of this ecosystem and every SQL database can hold

_LONGEST_NUMBER = 400  # digits; every float and every 64-bit integer can be written shorter
_ADVICE = "Store the bulk elsewhere (a file, an object store) and pass its name"
_LONGEST_KEY = 40  # characters of a key that are shown in a path

_encode = msgspec.json.Encoder().encode


class Unfit:
    """Stand for a value that was typed as JSON and cannot be stored: found with its path later."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class Arguments(msgspec.Struct, frozen=True):
    """Hold the positional and keyword arguments of a call."""

    args: list[Json] = []
    kwargs: dict[str, Json] = {}


_decode_arguments = msgspec.json.Decoder(Arguments).decode


def encode_arguments(args: tuple[Json, ...], kwargs: dict[str, Json]) -> str:
    """Return the JSON of a call; raises BadArguments with the path of the first wrong value."""
    walk = _Walk()
    for index, value in enumerate(args):
        _check(value, f"args[{index}]", walk)
    for name, value in kwargs.items():
        _check_text(name, "arguments", walk)
        _check(value, name, walk)
    encoded = _encode({"args": args, "kwargs": kwargs})
    if len(encoded) > MAX_BYTES:
        for index, value in enumerate(args):
            _bounded(_encode(value), f"args[{index}]")
        for name, value in kwargs.items():
            _bounded(_encode(value), name)
    return _bounded(encoded, "arguments")


def decode_arguments(text: str | bytes) -> Arguments:
    """Return the arguments that `encode_arguments` wrote."""
    return _decode_arguments(text)


def encode_result(value: Json) -> str:
    """Return the JSON of a result; raises BadArguments with the path of the first wrong value."""
    if value is None:
        return "null"
    _check(value, "result", _Walk())
    return _bounded(_encode(value), "result")


def decode_result(text: str | bytes) -> Json:
    """Return the value that `encode_result` wrote."""
    return msgspec.json.decode(text)


def parse(text: str) -> Json:
    """Return the value of JSON that a person typed; raises ValueError when it is no JSON.

    What readers of JSON disagree on is not guessed: a key that stands twice, a number that no
    float or 64-bit integer can hold, NaN, and what is nested too deep become `Unfit`, and
    `encode_arguments` refuses them with their path.
    """
    import json  # not before: `import holdfast` is light

    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=lambda name: Unfit(f"{name} is not a JSON number"),
        )
    except RecursionError:
        return Unfit(f"nested deeper than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Json]]) -> Json:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
    return Unfit(f"the key {_shown(twice)!r} stands there more than once")


def _integer(text: str) -> Json:
    if len(text) > _LONGEST_NUMBER:
        return Unfit("the integer does not fit into 64 bits")
    return int(text)


def _float(text: str) -> Json:
    value = float(text)
    return value if math.isfinite(value) else Unfit(f"{_shown(text)} is too large for a number")


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_KEY else text[: _LONGEST_KEY - 1] + "…"


def _bounded(encoded: bytes, what: str) -> str:
    if len(encoded) > MAX_BYTES:
        problem = f"{len(encoded)} bytes of JSON are above the limit of {MAX_BYTES}. {_ADVICE}"
        raise BadArguments(path=what, problem=problem)
    return encoded.decode()


class _Walk:
    """Know how deep in a value one is, and how much of it there may still be.

    A list that holds another one twice, and that one a third twice, is short in memory and endless
    as JSON.
    """

    __slots__ = ("depth", "left")

    def __init__(self) -> None:
        self.depth = 0
        self.left = MAX_BYTES // 2  # values: each takes a byte and a comma at least

    def enter(self, path: str, count: int) -> None:
        """Go into a list or an object of so many values; `depth` goes down when it is left."""
        self.depth += 1
        self.left -= count
        if self.depth > MAX_DEPTH:
            raise BadArguments(path=path, problem=f"nested deeper than {MAX_DEPTH} levels")
        if self.left < 0:
            problem = f"more values than the {MAX_BYTES} bytes of JSON can hold that are the limit"
            raise BadArguments(path=path, problem=f"{problem}. {_ADVICE}")


def _check(value: Json, path: str, walk: _Walk) -> None:
    check = _CHECKS.get(type(value))  # the exact type: a subclass would come back as its base
    if check is None:
        problem = (
            f"a {type(value).__qualname__} is not JSON. Pass text, numbers, booleans, None, "
            "lists or dicts, and rebuild the object in the task"
        )
        raise BadArguments(path=path, problem=problem)
    check(value, path, walk)


def _accept(value: Json, path: str, walk: _Walk) -> None:
    pass


def _check_integer(value: int, path: str, _walk: _Walk) -> None:
    if not -MAX_INTEGER <= value < MAX_INTEGER:
        raise BadArguments(path=path, problem="the integer does not fit into 64 bits")


def _check_float(value: float, path: str, _walk: _Walk) -> None:
    if not math.isfinite(value):
        raise BadArguments(path=path, problem=f"{value} is not a JSON number")


def _check_array(value: Sequence[Json], path: str, walk: _Walk) -> None:
    walk.enter(path, len(value))
    for index, item in enumerate(value):
        _check(item, f"{path}[{index}]", walk)
    walk.depth -= 1


def _check_object(value: dict[Any, Json], path: str, walk: _Walk) -> None:
    walk.enter(path, len(value))
    for key, item in value.items():
        if type(key) is not str:
            problem = f"one of its keys is of type {type(key).__qualname__}, not a text"
            raise BadArguments(path=path, problem=problem)
        _check_text(key, path, walk)
        _check(item, f"{path}.{_shown(key)}", walk)
    walk.depth -= 1


def _check_text(value: str, path: str, _walk: _Walk) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"the text has a lone surrogate at position {error.start}"
        raise BadArguments(path=path, problem=problem) from None


def _refuse(value: Unfit, path: str, _walk: _Walk) -> None:
    raise BadArguments(path=path, problem=value.problem)


_CHECKS: Mapping[type, Callable[[Any, str, _Walk], None]] = {
    type(None): _accept,
    bool: _accept,
    str: _check_text,
    int: _check_integer,
    float: _check_float,
    list: _check_array,
    tuple: _check_array,
    dict: _check_object,
    Unfit: _refuse,
}
