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
    CannotClose,
    ConfigError,
    CountsDiffer,
    HoldfastError,
    LogDeleted,
    MissingDriver,
    MovedElsewhere,
    MoveGivenUp,
    NotAllowed,
    NotAStore,
    NotEmpty,
    OtherDatabase,
    ResultTimeout,
    RunNotFound,
    RunNotSucceeded,
    SameStore,
    SchemaOutdated,
    SearchTooSlow,
    ServerTooOld,
    StoreRefused,
    StoreUnavailable,
    TaskNotFound,
    WorkersAreUp,
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
        StoreUnavailable(store="sqlite:///x", problem="io", unknown=True),
        (
            "The store sqlite:///x failed while it committed: io. Nobody knows whether it is "
            "there; look, or repeat it with the same run id."
        ),
    ),
    (
        StoreUnavailable(store="sqlite:///x", problem="deadlock detected", joined=True),
        (
            "The store sqlite:///x cannot take the run in your transaction: deadlock detected. "
            "Roll it back, and repeat the whole of it."
        ),
    ),
    (
        OtherDatabase(found="/srv/app.db", store="sqlite:////srv/holdfast.db"),
        (
            "The connection leads to /srv/app.db, and the store is sqlite:////srv/holdfast.db: no "
            "transaction spans both. Keep the store and your tables in one database, or enqueue "
            "after the commit."
        ),
    ),
    (
        RunNotFound(run_id="r1", joined=True),
        (
            "Run r1 is not there: the transaction in which it was enqueued is not committed yet, "
            "or was rolled back."
        ),
    ),
    (
        StoreRefused(store="sqlite:///x", problem="no such luck"),
        "The store sqlite:///x refuses what it was given: no such luck.",
    ),
    (
        LogDeleted(run_id="7", attempt=2, lines=30, size=400, at=1_795_266_000_000_000),
        (
            "The log of run 7, attempt 2, was deleted by the retention on 2026-11-21 13:00:00 UTC "
            "(30 lines, 400 bytes)."
        ),
    ),
    (
        SearchTooSlow(pattern="(a+)+$", seconds=1.5),
        (
            "The search for '(a+)+$' needs more than 1.5 s for one line. Write it without a "
            "repetition inside a repetition."
        ),
    ),
    (
        NotAStore(store="sqlite:///x", found="no plain file"),
        (
            "There is no Holdfast store at sqlite:///x: it is no plain file, and was left as it "
            "is. Name another place: --store or HOLDFAST_STORE."
        ),
    ),
    (
        BadOption(option="name", value="x" * 500, expected="a short one"),
        f"name='{'x' * 198}… is not possible: expected a short one.",
    ),
    (
        ServerTooOld(store="mysql://x/y", found="MySQL 5.7.44", needed="MySQL 8.0.17"),
        "The server of mysql://x/y is MySQL 5.7.44. Holdfast needs MySQL 8.0.17, or a newer one.",
    ),
    (
        MissingDriver(store="postgresql", package="holdfast[postgres]"),
        "A store at postgresql:// needs a driver. Run `pip install 'holdfast[postgres]'`.",
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
    (
        SameStore(store="sqlite:///x"),
        (
            "The store sqlite:///x is there already. Name the old one with --from, and another one "
            "with --to."
        ),
    ),
    (
        WorkersAreUp(store="sqlite:///x", workers=["w1 on lathe (pid 7)"], lease_seconds=30.0),
        (
            "The store sqlite:///x has workers that are up: w1 on lathe (pid 7). Stop them first; "
            "one that was killed counts until it was silent for 30 s."
        ),
    ),
    (
        WorkersAreUp(store="sqlite:///x", workers=list("abcdefg"), lease_seconds=7.5),
        (
            "The store sqlite:///x has workers that are up: a, b, c, d, e, and 2 more. Stop them "
            "first; one that was killed counts until it was silent for 7.5 s."
        ),
    ),
    (
        NotEmpty(store="sqlite:///x", found="5 rows in run"),
        (
            "The store sqlite:///x is not empty: it has 5 rows in run. Move to a new one: name "
            "another with --to, or delete what is there first."
        ),
    ),
    (
        MovedElsewhere(store="sqlite:///x", to="sqlite:///y", done=True),
        "The store sqlite:///x was moved to sqlite:///y. Use that one.",
    ),
    (
        MovedElsewhere(store="sqlite:///x", to="sqlite:///y", done=False),
        (
            "The store sqlite:///x is being moved to sqlite:///y. Go on with that: "
            "`holdfast migrate --from … --to …`; or end it with --give-up in the place of --to."
        ),
    ),
    (
        MoveGivenUp(store="sqlite:///x", to="sqlite:///y"),
        (
            "The move of the store sqlite:///x to sqlite:///y was given up meanwhile: go on with "
            "the old one, and delete what is in the new one."
        ),
    ),
    (
        CannotClose(store="mysql://x/y", problem="TRIGGER command denied"),
        (
            "The store mysql://x/y cannot be closed for its move: TRIGGER command denied. That "
            "takes the right to create triggers, and that no transaction on it goes on for long. "
            "Then give the command again."
        ),
    ),
    (
        CountsDiffer(store="sqlite:///y", table="run", found=6, expected=7),
        (
            "The store sqlite:///y has 6 rows in run, and not the 7 of the old one, so it stays "
            "closed. `holdfast migrate --from … --give-up` opens the old one."
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
