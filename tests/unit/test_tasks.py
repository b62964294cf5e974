"""Tasks: what is refused before anything is stored, and how a command is put together."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta, timezone

import pytest

from holdfast import App, Retry
from holdfast.core.errors import BadArguments, BadOption
from holdfast.core.models import COMMAND_TASK, TaskOptions
from holdfast.tasks import due_at

HOSTILE = [
    "; rm -rf /",
    "$(id)",
    "`id`",
    "' ; id ; '",
    '" ; id ; "',
    "-o ProxyCommand=id",
    "--config=/etc/passwd",
    "@/etc/passwd",
    "two\nlines",
    "a  b",
    "*",
    "~",
    "\\",
    "$HOME",
    "{name}",
    "",
    "grüß ☃",
]


@pytest.fixture
def app():
    return App()


@pytest.fixture
def send(app):
    @app.task(name="shop.send")
    def send(user_id: int, *, urgent: bool = False):
        return user_id, urgent

    return send


def ran(task, **values):
    """What the program of a command printed when it ran with these values."""
    argv = task.body.render((), values)
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout.decode()


# Functions


def test_a_task_is_called_like_its_function(send):
    assert (7, True) == send(7, urgent=True)


def test_a_task_has_the_name_of_its_module_and_function(app):
    @app.task
    def work(): ...

    assert work.name == f"{__name__}.{work.body.function.__qualname__}"
    assert work is app.find_task(work.name)


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'user_id'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"user": 2}, "got an unexpected keyword argument 'user'"),
        ((1,), {"user_id": 2}, "multiple values for argument 'user_id'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_with_the_signature(send, args, kwargs, problem):
    with pytest.raises(BadArguments) as caught:
        send.call(*args, **kwargs)

    assert problem in str(caught.value)
    assert "(user_id: 'int', *, urgent: 'bool' = False)" in str(caught.value)


def test_a_value_that_is_not_json_is_refused_with_its_path(send):
    with pytest.raises(BadArguments, match=r"args\[0\]: a object is not JSON"):
        send.call(object())


def test_the_context_is_not_an_argument_of_the_caller(app):
    @app.task(takes_context=True)
    def work(context, page): ...

    work.call(1)
    with pytest.raises(BadArguments):
        work.call(1, 2)


def test_only_async_functions_share_an_executor(app, send):
    @app.task
    async def work(): ...

    assert work.body.shared
    assert not send.body.shared
    assert not app.command("list", ["ls"]).body.shared


def test_a_name_is_given_once(app, send):
    with pytest.raises(BadOption, match="a name that no other task has"):
        app.command("shop.send", ["true"])


# Options


def test_using_changes_a_copy(send):
    other = send.using(priority=5, queue_name="mail", timeout="10m", memory="1MiB", retries=3)

    assert (5, "mail") == (other.priority, other.queue_name)
    assert TaskOptions(timeout=600.0, memory=1 << 20, retries=Retry(3)) == other.options
    assert (0, "default", TaskOptions()) == (send.priority, send.queue_name, send.options)


def test_using_keeps_what_it_does_not_change(send):
    other = send.using(timeout=5, dedupe_key="a").using(crashes=0)

    assert "a" == other.dedupe_key
    assert TaskOptions(timeout=5.0, crashes=0) == other.options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue_name", ""),
        ("queue_name", None),
        ("queue_name", "x" * 201),
        ("queue_name", 5),
        ("queue_name", "a\0b"),
        ("priority", 101),
        ("priority", -101),
        ("priority", "high"),
        ("priority", True),
        ("priority", 1.0),
        ("dedupe_key", ""),
        ("dedupe_key", "\ud800"),
        ("dedupe_key", 7),
        ("concurrency_key", ""),
        ("concurrency_limit", 0),
        ("concurrency_limit", None),
        ("timeout", 0),
        ("timeout", "soon"),
        ("memory", "lots"),
        ("memory", 0),
        ("retries", -1),
        ("retries", "3"),
        ("crashes", -1),
        ("crashes", "2"),
        ("crashes", True),
        ("run_after", "tomorrow"),
        ("run_after", -1),
        ("run_after", datetime(2030, 1, 1)),  # noqa: DTZ001 - that is the point
    ],
)
def test_an_impossible_option_is_refused_by_its_name(send, option, value):
    with pytest.raises(BadOption) as caught:
        send.using(**{option: value})

    assert option == caught.value.option


@pytest.mark.parametrize("option", ["name", "body", "app", "options", "prio"])
def test_an_unknown_option_is_refused_with_those_there_are(send, option):
    with pytest.raises(BadOption, match="expected one of concurrency_key, concurrency_limit"):
        send.using(**{option: 1})


@pytest.mark.parametrize("option", ["run_after", "dedupe_key", "run_id", "connection", "prio"])
def test_what_belongs_to_one_run_is_no_option_of_a_task(app, option):
    with pytest.raises(BadOption, match="expected one of"):
        app.task(name="work", **{option: "1"})(print)


@pytest.mark.parametrize("name", ["x" * 201, "a\0b"])
def test_a_task_has_a_name_that_can_be_stored(app, name):
    with pytest.raises(BadOption, match="name"):
        app.task(name=name)(print)


def test_a_task_that_was_refused_is_not_registered(app):
    with pytest.raises(BadOption):
        app.task(name="work", priority=101)(print)

    assert {COMMAND_TASK} == set(app.tasks)


# When


def test_a_task_starts_at_once_unless_told_otherwise(send):
    assert due_at(send) is None
    assert due_at(send.using(run_after="1h").using(run_after=None)) is None


def test_run_after_takes_a_moment_in_any_time_zone(send):
    utc = datetime(2030, 1, 1, 12, tzinfo=UTC)
    moscow = utc.astimezone(timezone(timedelta(hours=3)))

    assert due_at(send.using(run_after=utc)) == due_at(send.using(run_after=moscow))
    assert 1_893_499_200_000_000 == due_at(send.using(run_after=utc))


@pytest.mark.parametrize("wait", [3600, "1h", timedelta(hours=1)])
def test_run_after_takes_a_time_to_wait(send, wait):
    before = datetime.now(UTC)
    task = send.using(run_after=wait)
    after = datetime.now(UTC)

    assert before <= task.run_after - timedelta(hours=1) <= after


# Commands


def test_the_values_of_a_command_are_filled_in(app):
    dump = app.command("dump", ["pg_dump", "--host={host}", "{database}", "{host}:{port}"])

    assert ["pg_dump", "--host=a", "b", "a:1"] == dump.body.render(
        (), {"host": "a", "database": "b", "port": 1}
    )


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_stays_one_argument(app, value):
    show = app.command("show", ["printf", "<%s>", "{name}"])

    show.call(name=value)

    assert f"<{value}>" == ran(show, name=value)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_stays_one_argument_of_a_shell(app, value):
    show = app.command("show", "printf '<%s>' {name}; printf '<%s>' x{name}y", shell=True)

    show.call(name=value)

    assert f"<{value}><x{value}y>" == ran(show, name=value)


@pytest.mark.parametrize("around", ["echo '{name}'", 'echo "{name}"', "cat <<E\n{name}\nE"])
@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_is_ever_run_by_a_shell_whatever_stands_around_it(app, tmp_path, around, value):
    """Quotes around a placeholder, or a here-document, undo quotes inside the text."""
    task = app.command("show", f"cd {tmp_path} && {around} && :", shell=True)
    hostile = value.replace("id", "touch owned")

    subprocess.run(task.body.render((), {"name": hostile}), stdout=subprocess.DEVNULL, check=False)

    assert [] == os.listdir(tmp_path)


def test_the_values_of_a_shell_are_not_exported(app):
    show = app.command("show", "printf %s {secret} >/dev/null; env", shell=True)

    assert "s3cret" not in ran(show, secret="s3cret")


def test_a_pipe_and_the_shells_own_words_work(app):
    count = app.command(
        "count", "printf %s {text} | wc -c; for n in 1 2; do echo $n; done", shell=True
    )

    assert ["5", "1", "2"] == ran(count, text="a b c").split()


def test_double_braces_are_braces(app):
    task = app.command("show", ["{{}}", "{{name}}", "a{{{name}}}"])

    assert {"name"} == task.body.names
    assert ["{}", "{name}", "a{x}"] == task.body.render((), {"name": "x"})


def test_double_braces_are_braces_for_a_shell_too(app):
    task = app.command("show", "f() {{ echo {name}; }}; f", shell=True)

    assert "x y\n" == ran(task, name="x y")


@pytest.mark.parametrize(
    "template",
    [
        [],
        [""],
        "",
        "ls",
        ["ls", 5],
        [b"ls"],
        ["a\0b"],
        ["{}"],
        ["{0}"],
        ["{a.b}"],
        ["{a[0]}"],
        ["{a!r}"],
        ["{a:>10}"],
        ["{a:{b}}"],
        ["{größe}"],
        ["{"],
        ["}"],
        ["{a"],
    ],
)
def test_an_impossible_command_is_refused_where_it_is_defined(app, template):
    with pytest.raises(BadOption, match="argv"):
        app.command("command", template)


@pytest.mark.parametrize("template", [["ls"], "{a!r}", "{a:.3}", "", "a\0b"])
def test_an_impossible_shell_command_is_refused_where_it_is_defined(app, template):
    with pytest.raises(BadOption, match="argv"):
        app.command("command", template, shell=True)


@pytest.mark.parametrize(
    ("args", "kwargs", "given"),
    [
        ((), {}, "none"),
        ((), {"b": "1"}, "b"),
        ((), {"a": "1", "b": "2"}, "a, b"),
        (("1",), {}, "'1'"),
        (("1",), {"a": "1"}, "'1', a"),
    ],
)
def test_a_command_takes_exactly_its_placeholders(app, args, kwargs, given):
    task = app.command("show", ["echo", "{a}"])

    with pytest.raises(BadArguments, match=f"by name: a; given: {given}"):
        task.call(*args, **kwargs)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a\0b", "an argument of a command cannot hold a NUL byte"),
        (None, "a value in a command is a text or a number"),
        (True, "a value in a command is a text or a number"),
        (["a"], "a value in a command is a text or a number"),
    ],
)
@pytest.mark.parametrize("shell", [False, True])
def test_a_value_that_cannot_be_an_argument_is_refused(app, value, problem, shell):
    task = app.command("show", "echo {a}" if shell else ["echo", "{a}"], shell=shell)

    with pytest.raises(BadArguments) as caught:
        task.call(a=value)

    assert f"a: {problem}" == str(caught.value)


def test_a_command_cannot_be_called_directly(app):
    with pytest.raises(BadOption, match="a function to call directly"):
        app.command("show", ["echo"])()


# Commands that are no registered task


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("ls",), {"env": {}}),
        (("ls", None), {}),
        (("ls", "a\0b"), {}),
        (("ls",), {"cwd": 5}),
        (("ls",), {"cwd": "a\0b"}),
    ],
)
def test_an_impossible_command_line_is_refused(app, args, kwargs):
    with pytest.raises(BadArguments):
        app.tasks[COMMAND_TASK].call(*args, **kwargs)


def test_a_command_line_stays_as_it_is(app):
    body = app.tasks[COMMAND_TASK].body

    assert ["echo", "{a}", "; id", "7"] == body.render(["echo", "{a}", "; id", 7], {"cwd": "/"})
    assert "/" == body.cwd({"cwd": "/"})
    assert body.cwd({}) is None
