from __future__ import annotations

import json
import logging

import pytest

from holdfast import worker
from holdfast.cli import errors
from holdfast.cli.logformat import JsonFormatter, LogFormat, LogLevel, set_up_logging
from holdfast.core.events import WorkerStopped


@pytest.fixture
def started(monkeypatch):
    """The settings that workers were started with; each ends with exit code 7."""
    seen = []
    monkeypatch.setattr(worker, "run_worker", lambda settings: seen.append(settings) or 7)
    return seen


@pytest.fixture(autouse=True)
def _own_logging():
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_worker_ends_with_the_exit_code_of_the_worker(live, started, holdfast):
    done = holdfast("worker", "--queues", "mail,reports", "--executors", "3")

    assert 7 == done.exit_code
    assert ("mail", "reports") == started[0].worker.queues
    assert 3 == started[0].worker.executors


def test_up_tells_the_store_and_what_to_type_next(folder, started, holdfast):
    done = holdfast("up")

    assert str(folder / ".holdfast" / "holdfast.db") in done.stdout
    assert "holdfast run -- echo hello" in done.stdout
    assert (folder / ".holdfast" / "holdfast.db").exists()


def test_up_is_for_the_embedded_store_only(folder, started, holdfast):
    done = holdfast("--store", "postgresql://host/db", "up")

    assert errors.SETTINGS == done.exit_code
    assert [] == started


def test_an_event_is_one_json_object_with_its_fields():
    event = WorkerStopped(worker="w1")
    record = logging.LogRecord("holdfast.worker", 20, "", 0, "%s", (event,), None)
    record.event = event

    line = json.loads(JsonFormatter().format(record))

    assert ("WorkerStopped", "w1", "info") == (line["event"], line["worker"], line["level"])
    assert str(event) == line["message"]


@pytest.mark.parametrize("kind", LogFormat)
def test_logging_goes_to_stderr(kind, capsys):
    set_up_logging(LogLevel.INFO, kind)

    logging.getLogger("holdfast.test").info("hello")

    captured = capsys.readouterr()
    assert "" == captured.out
    assert "hello" in captured.err
