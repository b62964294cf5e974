"""Every error says what happened, with which value, and what to do next."""

from __future__ import annotations

import inspect
import re

import pytest

from holdfast.core import errors
from holdfast.core.errors import (
    AlreadyEnqueued,
    BadArguments,
    BadOption,
    ConfigError,
    HoldfastError,
    NotAllowed,
    ResultTimeout,
    RunNotFound,
    RunNotSucceeded,
    SchemaOutdated,
    StoreUnavailable,
    TaskNotFound,
)

SENTENCES = [
    (
        ConfigError(problems=["one", "two"]),
        "Settings cannot be used:\n  - one\n  - two",
    ),
    (
        BadArguments(path="args[0].day", problem="a date is not JSON"),
        "args[0].day: a date is not JSON",
    ),
    (
        BadOption(option="priority", value=101, expected="a whole number, -100 to 100"),
        "priority=101 is not possible: expected a whole number, -100 to 100.",
    ),
    (
        TaskNotFound(name="shop.sned", known=["shop.send", "shop.pay"]),
        "Task 'shop.sned' is not registered in this app. Did you mean 'shop.send'?",
    ),
    (
        TaskNotFound(name="mail", known=["shop.send"]),
        "Task 'mail' is not registered in this app. Is the module that defines it imported?",
    ),
    (
        RunNotFound(run_id="0192"),
        "There is no run '0192' in this store. `holdfast list` shows the runs.",
    ),
    (
        RunNotFound(run_id="01", matches=["01a", "01b"]),
        "'01' fits several runs: 01a, 01b. Give more of the id.",
    ),
    (
        AlreadyEnqueued(run_id="r1", task="shop.send"),
        "Run r1 exists already, for task 'shop.send' with other content. Use a new id.",
    ),
    (
        NotAllowed(run_id="r1", action="cancelled", state="failed"),
        "Run r1 is failed: it cannot be cancelled now.",
    ),
    (
        RunNotSucceeded(run_id="r1", state="failed", reason="Raised ValueError: no"),
        "Run r1 failed: Raised ValueError: no",
    ),
    (
        ResultTimeout(run_id="r1", state="queued", seconds=0.5),
        "Run r1 is still queued after 0.5 s. It goes on; ask again later.",
    ),
    (
        StoreUnavailable(store="sqlite:///x", problem="database is locked"),
        "The store sqlite:///x cannot be used now: database is locked. Try again.",
    ),
    (
        SchemaOutdated(store="sqlite:///x", found=1, needed=2),
        "The store sqlite:///x has schema 1, this Holdfast needs 2. Run `holdfast migrate`.",
    ),
    (
        SchemaOutdated(store="sqlite:///x", found=3, needed=2),
        (
            "The store sqlite:///x has schema 3, this Holdfast needs 2. Install the newer "
            "Holdfast that migrated it; an older one never changes it back."
        ),
    ),
]
CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, HoldfastError)
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_an_error_says_what_happened_and_what_to_do(error, sentence):
    assert sentence == str(error)


def test_every_error_with_facts_of_its_own_has_a_tested_sentence():
    with_facts = {kind for kind in CLASSES if "__init__" in vars(kind)}

    assert with_facts == {type(error) for error, _ in SENTENCES}


@pytest.mark.parametrize(("error", "_sentence"), SENTENCES)
def test_an_error_keeps_its_facts(error, _sentence):
    names = set(inspect.signature(type(error)).parameters)

    assert names <= set(vars(error))


@pytest.mark.parametrize("kind", CLASSES)
def test_the_tree_at_the_top_of_the_module_names_every_error(kind):
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__)


@pytest.mark.parametrize("kind", set(CLASSES) - {HoldfastError})
def test_the_tree_draws_an_error_deeper_than_its_parent(kind):
    depth = {
        found[2]: len(found[1])
        for found in re.finditer(r"^([ │├└─]*)(\w+)", errors.__doc__, re.MULTILINE)
    }

    assert depth[kind.__name__] == depth[kind.__base__.__name__] + 4
