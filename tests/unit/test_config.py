"""Settings: defaults < file < environment < arguments, and every problem at once."""

from __future__ import annotations

import pytest

from holdfast.core.config import (
    DEFAULT_STORE,
    is_postgres,
    is_same_store,
    load,
    sqlite_path,
    without_password,
)
from holdfast.core.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(file=None, environ=None, **arguments):
    """What is wrong with these settings."""
    with pytest.raises(ConfigError) as caught:
        load(file, environ=environ or {}, **arguments)
    return caught.value.problems


def test_without_anything_given_the_store_lies_below_the_working_directory():
    settings = load(environ={})

    assert DEFAULT_STORE == settings.store.url
    assert settings.worker.executors >= 2
    assert ("*",) == settings.worker.queues


def test_the_file_goes_over_the_defaults(folder):
    (folder / "holdfast.toml").write_text(
        'app = "shop:app"\nstore = "sqlite:///a.db"\n[worker]\nexecutors = 3\nqueues = ["a", "b"]'
    )

    settings = load(environ={})

    assert "shop:app" == settings.app
    assert "sqlite:///a.db" == settings.store.url
    assert 3 == settings.worker.executors
    assert ("a", "b") == settings.worker.queues


def test_the_environment_goes_over_the_file_and_arguments_over_both(folder):
    (folder / "holdfast.toml").write_text(
        '[store]\nurl = "sqlite:///file.db"\n[worker]\nexecutors = 3\nasync_slots = 4'
    )
    environ = {"HOLDFAST_STORE": "sqlite:///environ.db", "HOLDFAST_WORKER_EXECUTORS": "5"}

    settings = load(environ=environ, store="sqlite:///argument.db", worker_executors=None)

    assert "sqlite:///argument.db" == settings.store.url
    assert 5 == settings.worker.executors
    assert 4 == settings.worker.async_slots


def test_a_variable_of_somebody_else_is_left_alone():
    assert load(environ={"HOLDFAST_RUN_ID": "7", "PATH": "/bin"}) == load(environ={})


def test_durations_may_have_units():
    settings = load(environ={"HOLDFAST_WORKER_LEASE_SECONDS": "1m"}, store_wait_seconds="500ms")

    assert 60.0 == settings.worker.lease_seconds
    assert 0.5 == settings.store.wait_seconds


@pytest.mark.parametrize("value", ["2GiB", 2 << 30, str(2 << 30)])
def test_sizes_may_have_units(value):
    settings = load(environ={}, worker_spool_max_bytes=value, worker_spool_keep_free_bytes=value)

    assert 2 << 30 == settings.worker.spool_max_bytes == settings.worker.keep_free(1 << 40)


def test_queues_may_be_given_by_commas():
    settings = load(environ={"HOLDFAST_WORKER_QUEUES": "mail, reports"})

    assert ("mail", "reports") == settings.worker.queues


def test_every_problem_is_told_at_once_with_where_it_stands(folder):
    (folder / "holdfast.toml").write_text(
        "[worker]\nexecutors = 0\nexecutor = 1\n[retention]\nsucceeded_days = 'x'"
    )

    found = problems(environ={"HOLDFAST_WORKER_BEAT_SECONDS": "soon"}, store="holdfast.db")

    assert 5 == len(found)
    assert "holdfast.toml: worker.executors: 0 must be above zero" in found[0]
    assert (
        "holdfast.toml: worker.executor: unknown setting; did you mean worker_executors?"
        == found[1]
    )
    assert "holdfast.toml: retention.succeeded_days: 'x' is not a number" == found[2]
    assert "HOLDFAST_WORKER_BEAT_SECONDS='soon' is not possible" in found[3]
    assert "store='holdfast.db' is not a URL; write sqlite:///holdfast.db" == found[4]


def test_a_setting_like_no_other_is_called_unknown():
    assert ("qzx: unknown setting",) == problems(qzx=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker_executors", "many"),
        ("worker_executors", -1),
        ("worker_executors", float("inf")),
        ("worker_executors", 10**9),
        ("worker_executors", []),
        ("worker_queues", ""),
        ("worker_queues", "a,,b"),
        ("worker_queues", []),
        ("worker_queues", 5),
        ("worker_poll_seconds", 0),
        ("worker_spool_max_bytes", 0),
        ("worker_spool_max_bytes", "much"),
        ("worker_spool_keep_free_bytes", "10%"),
        ("retention_other_days", "nan"),
    ],
)
def test_an_impossible_value_is_refused(name, value):
    (problem,) = problems(**{name: value})

    assert problem.startswith(name)


def test_a_lease_must_leave_room_for_a_late_beat():
    (problem,) = problems(worker_lease_seconds=10, worker_beat_seconds=5)

    assert "worker.lease_seconds=10 must be at least three times worker.beat_seconds=5" in problem


def test_the_default_file_need_not_be_there_but_a_named_one_must(folder):
    missing = folder / "holdfast.toml"

    assert (f"the settings file {missing} does not exist",) == problems(missing)
    assert (f"the settings file {missing} does not exist",) == problems(
        environ={"HOLDFAST_CONFIG": str(missing)}
    )


def test_a_file_that_is_no_toml_is_a_problem_and_not_a_traceback(folder):
    (folder / "holdfast.toml").write_text("worker = [")

    (problem,) = problems()

    assert "the settings file holdfast.toml cannot be read" in problem


def test_a_file_that_is_no_text_is_a_problem_and_not_a_traceback(folder):
    (folder / "holdfast.toml").write_bytes(b"\xff\xfe")

    assert "cannot be read" in problems()[0]


def test_three_slashes_are_relative_to_the_working_directory(folder):
    assert folder / "data" / "h.db" == sqlite_path("sqlite:///data/h.db")


def test_four_slashes_are_absolute():
    assert "/data/h.db" == str(sqlite_path("sqlite:////data/h.db"))


def test_a_store_of_another_kind_has_no_path():
    assert sqlite_path("postgresql://localhost/shop") is None


def test_the_spool_lies_beside_an_sqlite_store_unless_it_is_named(folder):
    assert folder / "data" / "spool" == load(environ={}, store="sqlite:///data/h.db").spool_dir
    assert folder / "logs" == load(environ={}, worker_spool="logs").spool_dir


def test_the_spool_of_another_store_lies_in_the_working_directory(folder):
    settings = load(environ={}, store="postgresql://localhost/shop")

    assert folder / ".holdfast" / "spool" == settings.spool_dir


def test_a_misspelt_variable_is_ignored_with_a_warning_that_names_the_right_one():
    settings = load(environ={"HOLDFAST_WORKER_EXECUTOR": "3", "HOLDFAST_RUN_ID": "x"})

    assert len(settings.warnings) == 1
    assert "HOLDFAST_WORKER_EXECUTORS" in settings.warnings[0]


def test_the_limits_of_logs_are_off_unless_they_are_given(folder):
    assert (None, None) == (load().retention.log_days, load().retention.log_bytes)
    (folder / "holdfast.toml").write_text('[retention]\nlog_days = 14\nlog_bytes = "20GiB"')

    assert (14.0, 20 << 30) == (load().retention.log_days, load().retention.log_bytes)
    environ = {"HOLDFAST_RETENTION_LOG_DAYS": "0.5", "HOLDFAST_RETENTION_LOG_BYTES": "1048576"}
    retention = load(environ=environ).retention
    assert (0.5, 1 << 20) == (retention.log_days, retention.log_bytes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_DAYS", "0"), ("LOG_DAYS", "soon"), ("LOG_BYTES", "0"), ("LOG_BYTES", "much")],
)
def test_a_limit_of_logs_that_cannot_be_is_refused(name, value):
    (problem,) = problems(environ={f"HOLDFAST_RETENTION_{name}": value})

    assert f"HOLDFAST_RETENTION_{name}" in problem


PAIR = "127.0.0.1:5001,127.0.0.1:5002/shop?target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:geheim@db/shop", "postgresql://ann@db/shop"),
        (f"postgresql://ann:geheim@{PAIR}", f"postgresql://ann@{PAIR}"),
        (f"postgresql://ann@{PAIR}", f"postgresql://ann@{PAIR}"),
        (f"postgresql://{PAIR}", f"postgresql://{PAIR}"),
        ("postgresql://db/shop?user=a&password=geheim", "postgresql://db/shop?user=a&password=***"),
        (
            "postgresql://db/shop?sslpassword=x&port=1",
            "postgresql://db/shop?sslpassword=***&port=1",
        ),
    ],
)
def test_the_address_of_servers_is_shown_without_a_password(url, shown):
    assert shown == without_password(url)
    assert url == load(environ={}, store=url).store.url


def test_an_address_of_two_servers_is_one_store():
    url = f"postgresql://ann@{PAIR}"

    assert is_postgres(url)
    assert is_same_store(url, url)
    assert not is_same_store(url, "postgresql://ann@127.0.0.1:5001/shop")
