"""The Python API refuses what cannot be with an error of its own, soon, and enqueues nothing."""

from __future__ import annotations

import math
import time
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from holdfast import App, BadArguments, BadOption, HoldfastError, Retry, RunNotFound
from holdfast.core.config import StoreSettings
from holdfast.core.payload import decode_arguments
from holdfast.store import open_store
from holdfast.store.runs import RunFilter

NO_OPTION = [
    {"priority": True},
    {"priority": "1"},
    {"priority": 10**30},
    {"queue_name": None},
    {"queue_name": b"x"},
    {"queue_name": "a,b"},
    {"queue_name": "\x1b[31m"},
    {"dedupe_key": ""},
    {"dedupe_key": 5},
    {"concurrency_key": "\0"},
    {"concurrency_limit": 0},
    {"concurrency_limit": 10**30},
    {"run_after": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))},
    {"run_after": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))},
    {"run_after": datetime(2030, 1, 1)},  # noqa: DTZ001 - it is what is refused
    {"run_after": date(2030, 1, 1)},
    {"run_after": -5},
    {"run_after": math.nan},
    {"run_after": timedelta.max},
    {"run_after": True},
    {"timeout": math.inf},
    {"timeout": 10**400},
    {"memory": -1},
    {"memory": "1e3"},
    {"memory": 10**40},
    {"retries": 1.5},
    {"retries": 10**400},
    {"crashes": -1},
    {"run_id": "../../etc/passwd"},
    {"run_id": 5},
    {"nonsense": 1},
]


@pytest.fixture
def app(store):
    app = App(store=store.url)
    app.store = store
    return app


@pytest.fixture
def task(app):
    return app.task(lambda *args, **kwargs: None)


@pytest.mark.parametrize("changes", NO_OPTION, ids=str)
def test_an_option_that_cannot_be_is_refused(store, task, changes):
    with pytest.raises(BadOption) as refused:
        task.using(**changes).enqueue()

    assert refused.value.option in changes
    assert len(str(refused.value)) < 500
    assert [] == store.runs.list(RunFilter())


@pytest.mark.parametrize("year", [1970, 9998])
@pytest.mark.parametrize("zone", ["Etc/GMT+12", "Etc/GMT-14"])
def test_a_run_can_wait_for_every_year_that_is_allowed_and_be_shown_everywhere(
    store, task, year, zone, monkeypatch
):
    from holdfast.why import explain

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        run = task.using(run_after=datetime(year, 1, 1, tzinfo=UTC)).enqueue()
        assert explain(store, run.record).sentence
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("run_id", ["..", "", "\udcff", None, 5, b"x", "x" * 1_000_000, "a\0b"])
def test_what_is_no_id_names_no_run(app, run_id):
    with pytest.raises(RunNotFound) as refused:
        app.get_run(run_id)

    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"delay": -1},
        {"delay": math.inf},
        {"max_delay": 0},
        {"jitter": 2},
        {"jitter": math.nan},
        {"backoff": "x"},
        {"backoff": []},
    ],
    ids=str,
)
def test_a_retry_rule_that_cannot_be_is_refused(changes):
    with pytest.raises(BadOption):
        Retry(3, **changes)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [""],
        ["x", 5],
        ["{"],
        ["{}"],
        ["{a.b}"],
        ["{a!r}"],
        ["{a:>9}"],
        ["a\0"],
        "x",
        None,
        5,
        {},
    ],
    ids=str,
)
def test_a_command_that_cannot_be_is_refused(app, argv):
    with pytest.raises(BadOption, match="argv="):
        app.command("command", argv)


@pytest.mark.parametrize("value", [True, None, [1], "a\0b", "\udcff"])
def test_a_value_that_cannot_be_a_word_is_refused(app, store, value):
    with pytest.raises(BadArguments, match="word"):
        app.command("command", ["echo", "{word}"]).enqueue(word=value)

    assert [] == store.runs.list(RunFilter())


def test_an_argument_may_have_any_name(store, task):
    assert task.enqueue(self=1, args=2, kwargs=3, path=4).state == "queued"
    assert task.call(self=1)
    assert task(self=1) is None


@pytest.mark.parametrize("by", ["\udcff", "x\x1b[31m\n" * 1000, None, 5])
def test_who_cancels_is_kept_short_and_readable(task, by):
    run = task.enqueue()
    run.cancel(by=by)

    assert run.record.error.startswith("Cancelled by ")
    assert len(run.record.error) < 150
    assert run.record.error.isprintable()


def test_a_value_that_is_endless_as_json_is_refused_at_once(store, task):
    bomb = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    started = time.monotonic()

    for value in (bomb, [bomb], {"a": bomb}, [0] * 10_000_000):
        with pytest.raises(BadArguments, match="more values than the 1048576 bytes"):
            task.enqueue(value)

    assert time.monotonic() - started < 30  # without a limit: longer than the world is old
    assert [] == store.runs.list(RunFilter())


def test_a_list_of_as_many_values_as_fit_is_accepted(store, task):
    values = [0] * (1_048_000 // 2)

    assert len(values) == len(decode_arguments(task.call(values).arguments).args[0])


@pytest.mark.parametrize(
    "url", [5, b"sqlite:///x", "sqlite:///a\0b", "sqlite:///", "x", "postgres://h/x"]
)
def test_an_app_says_what_is_wrong_with_its_store(folder, url):
    with pytest.raises(HoldfastError, match="store"):
        assert App(store=url).store


def test_a_store_is_not_opened_by_its_settings_alone(tmp_path):
    open_store(StoreSettings(url=f"sqlite:///{tmp_path}/none/holdfast.db"))

    assert [] == list(tmp_path.iterdir())
