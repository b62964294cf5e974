"""What a running task says through its context reaches the channel as it was meant."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import Context, Snooze, Stopped
from holdfast.core.errors import BadOption
from holdfast.core.models import Progress


class Recorder:
    """A channel that keeps what it was told."""

    def __init__(self):
        self.said = []
        self.stop_asked = None

    def log(self, text):
        self.said.append(text)

    def progress(self, progress):
        self.said.append(progress)


@pytest.fixture
def channel():
    return Recorder()


@pytest.fixture
def context(channel):
    return Context("run-1", 2, channel)


def test_a_context_knows_its_run_and_attempt(context):
    assert ("run-1", 2) == (context.run_id, context.attempt)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("page %d of %s", 1, "ten"), "page 1 of ten\n"),
        (("100% done",), "100% done\n"),
        (("",), "\n"),
    ],
)
def test_a_message_becomes_one_line(context, channel, args, line):
    context.log(*args)

    assert [line] == channel.said


def test_progress_is_passed_on(context, channel):
    context.progress(3, 10, "pages")
    context.progress(4)

    assert [Progress(3, 10, "pages"), Progress(4)] == channel.said


@pytest.mark.parametrize("why", ["cancel", "timeout", "deploy"])
def test_a_task_sees_that_it_was_asked_to_stop(context, channel, why):
    assert not context.is_cancelled

    channel.stop_asked = why

    assert context.is_cancelled


@pytest.mark.parametrize("delay", [300, "5m", timedelta(minutes=5)])
def test_snooze_ends_the_attempt_with_the_delay(context, delay):
    with pytest.raises(Snooze, match="run again in 5 min") as caught:
        context.snooze(delay)

    assert 300 == caught.value.seconds


def test_snooze_refuses_what_is_no_delay(context):
    with pytest.raises(BadOption, match="delay"):
        context.snooze(-1)


def test_a_stop_is_not_swallowed_by_code_that_catches_every_error():
    assert not issubclass(Stopped, Exception)
    assert "timeout" == Stopped("timeout").why
